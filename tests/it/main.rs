//! The integration tests: a real Postgres, real sockets, the daemon in process or as a process.
//!
//! One sentence a module says which tests belong there.

/// What all tests start from: a cluster, a database of their own, a daemon.
mod harness;
/// A receiver that misbehaves as it is told, and remembers what it got.
mod receiver;
/// A proxy that does to connections what networks do.
mod proxy;
/// A small volume for a database.
mod volume;

/// What the schema promises: migrations, comments, roles.
mod schema;
/// What daemons of two versions do on one database, and which changes of the schema they bear.
mod upgrade;
/// What bad rows, bad defaults and vandals come to, and that the rest flows.
mod poison;
/// What each role may do with each object of the schema.
mod rights;
/// Which events reach which endpoints, exactly once.
mod fan_out;
/// What a receiver sees, and what its answers come to.
mod send;
/// What receivers see of each profile, what counts as success, and how failures are repeated.
mod profiles;
/// What endpoints that change, and those who change them, do to the events of others.
mod catalogue;
/// When a failed delivery is tried again, and when no more.
mod retry;
/// What endpoints that fail, hang or ask for less do to themselves, and not to others.
mod isolation;
/// What people and applications can do to endpoints and deliveries.
mod manage;
/// How secrets are stored: sealed, opened, sealed anew.
mod secrets;
/// Where secrets must not turn up, and what a lost key comes to.
mod discretion;
/// A recognisable value in every secret, and in nothing that anybody is told.
mod canary;
/// Which secret signs, its own or the tenant's, and who may see it.
mod owners;
/// What the catalogue does: checking events, quarantine, samples.
mod event_types;
/// Schemas that would take too long, and what quarantine means for the rest.
mod event_checks;
/// That the events of a key arrive in their order, whatever happens to it and to others.
mod order;
/// What stays true when processes and databases die.
mod crash;
/// What the daemon does when its way to the database fails.
mod outage;
/// That statements keep their plans.
mod plans;
/// What works behind a pooler in transaction mode, which is all of it.
mod pooler;
/// What the daemon does when the disk of the database is full.
mod disk;
/// How long history and events are kept, and what goes before its time where the disk has a limit.
mod retention;
/// What the daemon does when a standby takes the place of its database.
mod standby;
/// What the command line answers, and how it exits.
mod commands;
/// What the benchmark reports, and what it leaves alone.
mod bench;
/// What the official Standard Webhooks libraries say of real deliveries.
mod verifiers;
/// TLS to receivers and to the database.
mod tls;
/// Hostile receivers, all at once, and what each of them comes to.
mod zoo;
/// What the service manager is told, and when.
mod service;
/// What top and stats show of how deliveries stand.
mod top;
/// What the daemon logs, as text, as JSON and in the journal, and how much of it.
mod log;
/// What the metrics say, of the database and of endpoints, and that their document is current.
mod metrics;
/// Who gets an answer from the admin listener, and what slow and foreign clients come to.
mod admin;
/// Where requests never go: forbidden addresses, ports and headers, through any gate.
mod ssrf;
/// That alerts, runbook, dashboard and metrics agree, and what a real Prometheus makes of them.
mod monitoring;
/// The rules of the house: doors, floors, sizes.
mod house;
