//! The profiles there are: those built in, and those of the configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use toml::de::{DeTable, DeValue};

use super::Profile;
use super::read::read;

/// The profiles that are built in, in the order in which they are listed, as their files.
const BUILT_IN: [(&str, &str); 10] = [
    ("standard", include_str!("builtin/standard.toml")),
    ("sprusify", include_str!("builtin/sprusify.toml")),
    ("rebusai", include_str!("builtin/rebusai.toml")),
    ("sparkloop", include_str!("builtin/sparkloop.toml")),
    ("saasquatch", include_str!("builtin/saasquatch.toml")),
    ("github", include_str!("builtin/github.toml")),
    ("stripe", include_str!("builtin/stripe.toml")),
    ("shopify", include_str!("builtin/shopify.toml")),
    ("svix", include_str!("builtin/svix.toml")),
    ("cloudevents", include_str!("builtin/cloudevents.toml")),
];

static READ: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| {
    // A unit test reads every one of them, so that none is missing here.
    BUILT_IN.iter().filter_map(|(name, text)| read_file(name, text)).map(Arc::new).collect()
});

fn read_file(name: &str, text: &str) -> Option<Profile> {
    let file = DeTable::parse(text).ok()?;
    let DeValue::Table(profiles) = file.get_ref().get("profile")?.get_ref() else { return None };
    read(name, 0, profiles.get(name)?.get_ref()).ok()
}

/// A profile name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile '{name}'; there are {known}")]
pub struct UnknownProfile {
    name: String,
    known: String,
}

/// Every profile that endpoints can have.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    custom: BTreeMap<String, Arc<Profile>>,
}

impl Profiles {
    /// Adds a profile of the configuration. False when there is one of that name already.
    pub fn add(&mut self, profile: Profile) -> bool {
        let is_new = self.named(&profile.name).is_err();
        if is_new {
            self.custom.insert(profile.name.clone(), Arc::new(profile));
        }
        is_new
    }

    /// The profile of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(&self, name: &str) -> Result<&Arc<Profile>, UnknownProfile> {
        let built_in = READ.iter().find(|profile| profile.name == name);
        built_in.or_else(|| self.custom.get(name)).ok_or_else(|| {
            let known: Vec<&str> = self.all().map(|(profile, _)| profile.name.as_str()).collect();
            UnknownProfile { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// All of them, with whether they are built in; those of the configuration come last.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<Profile>, bool)> {
        let built_in = READ.iter().map(|profile| (profile, true));
        built_in.chain(self.custom.values().map(|profile| (profile, false)))
    }
}

impl PartialEq for Profiles {
    fn eq(&self, other: &Self) -> bool {
        self.custom == other.custom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_profile_and_nothing_else() {
        for (name, text) in BUILT_IN {
            let file = DeTable::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(file.get_ref().len(), 1, "{name}");
            let profiles = match file.get_ref()["profile"].get_ref() {
                DeValue::Table(profiles) => profiles,
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(profiles.len(), 1, "{name}");
            let profile = read(name, 0, profiles[name].get_ref());
            assert!(profile.is_ok(), "{name}: {profile:?}");
        }
        assert_eq!(READ.len(), BUILT_IN.len());
    }

    #[test]
    fn a_name_that_is_taken_stays_with_its_owner() {
        let mut profiles = Profiles::default();
        let standard = Profile::clone(profiles.named("standard").expect("built in"));
        assert!(!profiles.add(standard.clone()));
        let ours = Profile { name: "ours".to_owned(), ..standard };
        assert!(profiles.add(ours.clone()) && !profiles.add(ours));
        assert_eq!(profiles.all().filter(|(_, built_in)| !built_in).count(), 1);
        let error = profiles.named("nobody's").expect_err("unknown").to_string();
        assert!(error.contains("'nobody's'") && error.ends_with("cloudevents, ours"), "{error}");
    }
}
