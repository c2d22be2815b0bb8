//! `outboxd secrets`: how signing secrets are stored, and those that a tenant's
//! endpoints share.

use std::time::Duration;

use super::Global;
use super::desk::{Desk, Limit};
use super::endpoints::secret::{self, SecretSource};
use super::failure::{Code, Failure};
use super::output::{self, Format, Row};
use crate::config::{Storage, duration};
use crate::seal::MasterKey;
use crate::store::manage::{SECRET_LIST, TENANT_SET_SECRET};
use crate::store::secrets::Rewrapped;

/// `secrets ...`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print a new master key for secrets.master_key_file
    GenerateMasterKey,
    /// List who owns which secret and how it is stored, newest first; never the secret itself
    List(ListArgs),
    /// Encrypt everything under the first master key that is not yet
    Rewrap(RewrapArgs),
    /// Give a tenant a secret that its endpoints share, unless they have one of their own
    SetTenant(SetTenantArgs),
}

/// Options of `secrets list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    format: Format,
}

/// Options of `secrets rewrap`.
#[derive(Debug, clap::Args)]
pub struct RewrapArgs {
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
}

/// Options of `secrets set-tenant`.
#[derive(Debug, clap::Args)]
#[command(after_help = secret::IN_ENVIRONMENT)]
pub struct SetTenantArgs {
    /// The tenant
    tenant: String,
    /// How long the tenant's old secret also signs
    #[arg(long, default_value = "0s", value_parser = duration::parse)]
    overlap: Duration,
    #[command(flatten)]
    secret: SecretSource,
    #[command(flatten)]
    format: Format,
}

/// Does what is asked of secrets.
///
/// # Errors
/// Of the configuration or the database; or not every secret could be encrypted.
pub async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::GenerateMasterKey => generate_master_key(),
        Command::List(args) => list(&Desk::open(global).await?, &args).await,
        Command::Rewrap(args) => rewrap(&Desk::open(global).await?, &args).await,
        Command::SetTenant(args) => set_tenant(&Desk::open(global).await?, &args).await,
    }
}

fn generate_master_key() -> Result<(), Failure> {
    let key = MasterKey::generate().map_err(|error| Failure::failed(error.to_string()))?;
    output::write_out(&format!("{key}\n"))?;
    eprintln!(
        "keep a copy where the database's backups are not: without the key the secrets are lost. \
         Put it in a file of mode 0600, first if there are others, and name that in \
         secrets.master_key_file; or pass it as the credential master_key: systemd-creds encrypt"
    );
    Ok(())
}

async fn list(desk: &Desk, args: &ListArgs) -> Result<(), Failure> {
    let rows = desk.list(&[SECRET_LIST], &[], args.limit).await?;
    let columns = ["endpoint", "tenant", "stored", "public_key", "created_at", "expires_at"];
    output::print(args.format, &rows, &columns)
}

async fn rewrap(desk: &Desk, args: &RewrapArgs) -> Result<(), Failure> {
    let secrets = &desk.config.secrets;
    let problem = match secrets.storage {
        Storage::Encrypted if !secrets.keyring.is_empty() => None,
        Storage::Plain => Some("secrets.storage is plain: nothing is to be encrypted"),
        _ => Some(
            "there is no master key to encrypt with; set secrets.master_key_file to a file with a \
             key from 'outboxd secrets generate-master-key'",
        ),
    };
    if let Some(problem) = problem {
        return Err(Failure { code: Code::Configuration, message: problem.to_owned() });
    }
    let done = desk.rewrap(args.dry_run).await?;
    output::print_one(args.format, &counts(&done))?;
    if args.dry_run {
        eprintln!("nothing was changed");
    }
    match incomplete(&done) {
        Some(problem) => Err(Failure::failed(problem)),
        None => Ok(()),
    }
}

fn counts(done: &Rewrapped) -> Row {
    let counts = [
        ("were_plain", done.sealed),
        ("were_under_another_key", done.rewrapped),
        ("were_current", done.current),
        ("not_opened", done.unopened.len()),
    ];
    counts.map(|(name, count)| (name.to_owned(), count.into())).into_iter().collect()
}

/// Why not everything is sealed under the first key; one line for each reason.
fn incomplete(done: &Rewrapped) -> Option<String> {
    let mut reasons: Vec<String> = done.unopened.iter().map(ToString::to_string).collect();
    reasons.sort();
    reasons.dedup();
    if done.changed > 0 {
        reasons.push(format!("{} secrets kept changing; run it again", done.changed));
    }
    (!reasons.is_empty()).then(|| {
        let reasons = reasons.join("\n");
        format!(
            "some secrets stay as they are; 'outboxd secrets list' names their owners: {reasons}"
        )
    })
}

async fn set_tenant(desk: &Desk, args: &SetTenantArgs) -> Result<(), Failure> {
    let secret = args.secret.take_or_environment(desk).await?;
    desk.replace_secret(TENANT_SET_SECRET, &args.tenant, &secret.stored, args.overlap).await?;
    secret::print_news(secret, args.format)?;
    eprintln!(
        "the endpoints of {} that have no secret of their own sign with it from now on",
        output::escaped(&args.tenant)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::OpenError;

    #[test]
    fn what_was_not_rewrapped_is_told_once_for_each_reason() {
        let unknown = || OpenError::UnknownKey("1a2b3c4d".to_owned());
        let mut done = Rewrapped { sealed: 1, rewrapped: 2, current: 3, ..Rewrapped::default() };
        assert_eq!(incomplete(&done), None);
        done.unopened = vec![unknown(), unknown()];
        let said = incomplete(&done).expect("a reason");
        assert_eq!(said.matches("1a2b3c4d").count(), 1, "{said}");
        let json = serde_json::Value::Object(counts(&done)).to_string();
        assert_eq!(
            json,
            r#"{"were_plain":1,"were_under_another_key":2,"were_current":3,"not_opened":2}"#
        );
    }
}
