//! Where requests never go, whatever endpoints, names and receivers say.

/// Names with scripted answers.
mod dns;
/// Every way in which a URL gets to a daemon, with every vector.
mod gates;
/// What comes back from a receiver, and who may read it.
mod reflection;
/// Headers and ports: what a request may carry, and to whom it may speak.
mod smuggling;
/// What names resolve to: forbidden, changing, silent, too much.
mod names;
/// Our own addresses, and what a reload changes.
mod own;
/// Listeners that nobody may reach.
mod tripwire;
/// The URLs that lead to forbidden places.
mod vectors;
/// A machine of a test's own: its network, its names.
pub mod world;
