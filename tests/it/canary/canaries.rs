//! The values: each holds the word that is looked for, and is what it should be otherwise.

/// In the URL of the database.
pub const PASSWORD: &str = "CanaryOfThePassword";
/// Of the admin listener.
pub const ADMIN_TOKEN: &str = "CanaryOfTheAdminToken-0123456789abcdef";
/// 32 bytes in base64.
pub const MASTER_KEY: &str = "CanaryOfTheMasterKeyAAAAAAAAAAAAAAAAAAAAAAA=";
/// Another one, which opens nothing.
pub const OTHER_KEY: &str = "CanaryOfTheOtherKeyAAAAAAAAAAAAAAAAAAAAAAAA=";
/// Secrets of endpoints, by the way they came.
pub const BY_SQL: &str = "whsec_CanaryBySqlAAAAAAAAAAAAAAAAAAAAA";
pub const BY_CLI: &str = "whsec_CanaryByCliAAAAAAAAAAAAAAAAAAAAA";
pub const ROTATED: &str = "whsec_CanaryRotatedAAAAAAAAAAAAAAAAAAA";
pub const EXPIRED: &str = "whsec_CanaryExpiredAAAAAAAAAAAAAAAAAAA";
pub const TENANT: &str = "whsec_CanaryTenantAAAAAAAAAAAAAAAAAAAA";
/// An Ed25519 key.
pub const PRIVATE: &str = "whsk_CanaryPrivateKeyAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// In the static header of an endpoint.
pub const HEADER: &str = "CanaryOfTheHeader";
/// What a URL is kept secret for.
pub const PATH: &str = "CanaryPath";
pub const QUERY: &str = "CanaryQuery";
pub const USERINFO: &str = "CanaryUserinfo";
/// What all of them hold.
pub const WORD: &str = "Canary";
