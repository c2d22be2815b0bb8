//! `outboxd endpoints`: who receives.

mod definition;
pub(super) mod secret;
mod trial;

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use serde_json::{Value, json};

use super::Global;
use super::desk::{Desk, Limit};
use super::failure::Failure;
use super::output::{self, Format};
use crate::config::duration;
use crate::store::manage::{
    Choice, ENDPOINT_CHANGE, ENDPOINT_DEFINITION, ENDPOINT_LIST, ENDPOINT_PAUSE, ENDPOINT_REMOVE,
    ENDPOINT_RESUME, ENDPOINT_ROTATE_SECRET, ENDPOINT_SHOW,
};
use definition::{Definition, Unset};
use secret::{Origin, SecretSource};

/// `endpoints ...`; an endpoint is named by its id or its name.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List endpoints, newest first
    List(ListArgs),
    /// Add an endpoint; prints its id and, once, its generated secret
    Add(AddArgs),
    /// Show an endpoint and how it fares; neither secrets nor header values
    Show {
        /// The endpoint's id or name
        endpoint: String,
        #[command(flatten)]
        format: Format,
    },
    /// Change what is given, and nothing else
    Update(UpdateArgs),
    /// Remove an endpoint; its unfinished deliveries are cancelled
    Remove {
        /// The endpoint's id or name
        endpoint: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Let its deliveries wait
    Pause {
        /// The endpoint's id or name
        endpoint: String,
        /// Why, for those who look at it later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let its deliveries go on, after a pause or when it was disabled
    Resume {
        /// The endpoint's id or name
        endpoint: String,
    },
    /// Send it a test event, and wait for what comes of it
    Test(trial::Args),
    /// Give it a new secret; the old one also signs until the overlap ends
    RotateSecret(RotateArgs),
}

/// Options of `endpoints list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only endpoints in this state
    #[arg(long, value_parser = ["active", "paused", "disabled", "invalid"])]
    state: Option<String>,
    /// Only endpoints of this tenant
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    format: Format,
}

/// Options of `endpoints add`.
#[derive(Debug, clap::Args)]
#[command(after_help = secret::IN_ENVIRONMENT)]
pub struct AddArgs {
    /// Where requests go
    url: String,
    #[command(flatten)]
    definition: Definition,
    #[command(flatten)]
    secret: SecretSource,
    #[command(flatten)]
    format: Format,
}

/// Options of `endpoints update`.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// The endpoint's id or name
    endpoint: String,
    /// Where requests go
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    definition: Definition,
    /// Back to the default, separated by commas: tenant, live, headers, timeout, retry, success,
    /// max-in-flight, rate, ordered, description
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OPTIONS")]
    #[arg(hide_possible_values = true)]
    unset: Vec<Unset>,
}

/// Options of `endpoints rotate-secret`.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// The endpoint's id or name
    endpoint: String,
    /// How long the old secret also signs
    #[arg(long, default_value = "24h", value_parser = duration::parse)]
    overlap: Duration,
    #[command(flatten)]
    secret: SecretSource,
    #[command(flatten)]
    format: Format,
}

/// Does what is asked of endpoints.
///
/// # Errors
/// Of the configuration or the database; or there is no such endpoint; or it would be invalid.
pub async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let desk = Desk::open(global).await?;
    match command {
        Command::List(args) => list(&desk, &args).await,
        Command::Add(args) => add(&desk, &args).await,
        Command::Show { endpoint, format } => {
            output::print_one(format, &desk.row(ENDPOINT_SHOW, &[Some(&endpoint)]).await?)
        }
        Command::Update(args) => update(&desk, &args).await,
        Command::Remove { endpoint, yes } => remove(&desk, &endpoint, yes).await,
        Command::Pause { endpoint, reason } => {
            desk.row(ENDPOINT_PAUSE, &[Some(&endpoint), reason.as_deref()]).await?;
            eprintln!("{endpoint} is paused; its deliveries wait until it is resumed");
            Ok(())
        }
        Command::Resume { endpoint } => {
            desk.row(ENDPOINT_RESUME, &[Some(&endpoint)]).await?;
            eprintln!("{endpoint} is active");
            Ok(())
        }
        Command::Test(args) => trial::run(&desk, &args).await,
        Command::RotateSecret(args) => rotate_secret(&desk, &args).await,
    }
}

async fn list(desk: &Desk, args: &ListArgs) -> Result<(), Failure> {
    let params = [args.state.as_deref(), args.tenant.as_deref()];
    let rows = desk.list(&[ENDPOINT_LIST], &params, args.limit).await?;
    let columns = ["name", "state", "url", "events", "tenant", "created_at", "state_reason"];
    output::print(args.format, &rows, &columns)
}

async fn add(desk: &Desk, args: &AddArgs) -> Result<(), Failure> {
    let secret = args.secret.take_or_environment(desk).await?;
    let mut columns = args.definition.columns();
    columns.insert("url".to_owned(), json!(args.url));
    definition::check(&columns, Some(secret.to_judge()), &desk.config).map_err(Failure::failed)?;
    let defined = columns.clone();
    let text = Value::Object(columns).to_string();
    let choice = match secret.origin {
        Origin::Given => Choice::Given(&secret.stored),
        Origin::Generated => Choice::Generated(&secret.stored),
        Origin::KeyPair => Choice::Own(&secret.stored),
    };
    let mut added = desk.subscribe(&text, choice).await?;
    let is_new = added.shift_remove("created") == Some(json!(true));
    let needed = definition::needs_secret(&defined, &desk.config);
    let is_used = added.shift_remove("secret_used") == Some(json!(true)) && needed;
    let (origin, is_news) = (secret.origin, secret.is_news());
    if is_used {
        secret.show(&mut added);
    }
    output::print_one(args.format, &added)?;
    if !is_new {
        eprintln!("the tenant had an endpoint for this URL already, which was updated");
        if origin != Origin::Given {
            eprintln!("it keeps its secrets; outboxd endpoints rotate-secret gives it another");
        }
    } else if !needed {
        eprintln!("its profile signs nothing, so there is no secret to keep");
    } else if !is_used {
        eprintln!("it signs with the secret of its tenant");
    } else if is_news {
        eprintln!(
            "keep the secret: it is shown only now; the receiver verifies signatures with it"
        );
    }
    Ok(())
}

async fn update(desk: &Desk, args: &UpdateArgs) -> Result<(), Failure> {
    let mut columns = args.definition.columns();
    columns.extend(args.url.iter().map(|url| ("url".to_owned(), json!(url))));
    columns.extend(args.unset.iter().map(|unset| unset.column()));
    if columns.is_empty() {
        return Err(Failure::usage("nothing to change; see outboxd endpoints update --help"));
    }
    let endpoint = Some(args.endpoint.as_str());
    let mut whole = desk.row(ENDPOINT_DEFINITION, &[endpoint]).await?;
    let changes_profile =
        columns.get("profile").is_some_and(|profile| whole.get("profile") != Some(profile));
    whole.extend(columns.clone());
    definition::check(&whole, None, &desk.config).map_err(Failure::failed)?;
    let columns = Value::Object(columns).to_string();
    desk.row(ENDPOINT_CHANGE, &[endpoint, Some(&columns)]).await?;
    eprintln!("{} is updated", args.endpoint);
    // The secrets may be encrypted, and the key elsewhere.
    if changes_profile && definition::needs_secret(&whole, &desk.config) {
        eprintln!(
            "its secrets have to be in the form of that profile, which was not checked here: \
             outboxd endpoints show {} tells whether they are, once a daemon has seen the change",
            args.endpoint
        );
    }
    Ok(())
}

async fn remove(desk: &Desk, endpoint: &str, yes: bool) -> Result<(), Failure> {
    let shown = desk.row(ENDPOINT_SHOW, &[Some(endpoint)]).await?;
    let text = |name| shown.get(name).and_then(Value::as_str).unwrap_or_default();
    let pending = shown.get("pending").and_then(Value::as_u64).unwrap_or(0);
    let what = format!("{} ({})", text("name"), output::escaped(text("url")));
    if !yes {
        if !std::io::stdin().is_terminal() {
            let message = format!("{what} has {pending} unfinished deliveries; add --yes");
            return Err(Failure::usage(message));
        }
        eprint!("remove {what} and cancel its {pending} unfinished deliveries? [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            return Err(Failure::failed("nothing was removed"));
        }
    }
    // By its id: meanwhile another endpoint may have got the name.
    desk.row(ENDPOINT_REMOVE, &[Some(text("id"))]).await?;
    eprintln!("removed {what}; cancelled {pending} unfinished deliveries");
    Ok(())
}

async fn rotate_secret(desk: &Desk, args: &RotateArgs) -> Result<(), Failure> {
    let secret = args.secret.take(desk).await?;
    let defined = desk.row(ENDPOINT_DEFINITION, &[Some(&args.endpoint)]).await?;
    definition::check_secret(&defined, secret.to_judge(), &desk.config).map_err(Failure::failed)?;
    let query = ENDPOINT_ROTATE_SECRET;
    desk.replace_secret(query, &args.endpoint, &secret.stored, args.overlap).await?;
    secret::print_news(secret, args.format)?;
    let old = if args.overlap.is_zero() {
        "no longer with the old one".to_owned()
    } else {
        format!("for {} also with the old one", duration::short(args.overlap))
    };
    eprintln!("{} signs with the new secret from now on, and {old}", args.endpoint);
    Ok(())
}
