//! Listeners that nobody may reach, and that tell who did.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::PATIENCE;

/// Counts connections; listens until it is dropped.
pub struct Tripwire {
    places: Vec<SocketAddr>,
    /// What was dialled.
    hits: watch::Sender<Vec<SocketAddr>>,
    _tasks: JoinSet<()>,
}

impl Tripwire {
    /// Listens there.
    pub async fn at(places: &[&str]) -> Self {
        let hits = watch::Sender::new(Vec::new());
        let mut tasks = JoinSet::new();
        let mut bound = Vec::new();
        for place in places {
            let listener = TcpListener::bind(place).await.expect(place);
            bound.push(listener.local_addr().expect("an address"));
            let hits = hits.clone();
            tasks.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // Of a listener for all addresses, this is the one that was meant.
                    let dialled = stream.local_addr().expect("an address");
                    hits.send_modify(|hits| hits.push(dialled));
                }
            });
        }
        Self { places: bound, hits, _tasks: tasks }
    }

    /// A place that it listens at.
    pub fn place(&self) -> SocketAddr {
        self.places[0]
    }

    /// Asserts that nobody came. That it would have been noticed, it shows by coming itself: a
    /// listener accepts in order.
    pub async fn assert_untouched(&self) {
        for (number, place) in self.places.iter().enumerate() {
            TcpStream::connect(place).await.expect("a tripwire that listens");
            let mut hits = self.hits.subscribe();
            let noticed = timeout(PATIENCE, hits.wait_for(|hits| hits.len() > number)).await;
            noticed.expect("noticed in time").expect("a tripwire that listens");
        }
        let hits = self.hits.borrow().clone();
        assert_eq!(hits.len(), self.places.len(), "somebody reached a forbidden place: {hits:?}");
    }
}
