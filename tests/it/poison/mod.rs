//! What bad rows, bad defaults and vandals come to: a state with a name, and the rest flows.

/// Roles and databases whose settings are hostile, and what can be looked up in `public`.
mod defaults;
