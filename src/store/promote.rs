//! Letting go what was behind an earlier event of its key.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Store;
use super::error::StoreError;
use crate::endpoint::EndpointKey;
use crate::event::Lease;

/// Where a round over all keys is.
pub type Place = (String, EndpointKey);

/// What looking at a part of the keys came to.
#[derive(Debug)]
pub struct Promoted {
    /// Endpoints that have something due now.
    pub endpoints: Vec<EndpointKey>,
    /// How many keys of endpoints were looked at.
    pub looked: i64,
    /// The last of them.
    pub last: Option<Place>,
    /// More is to be let go there than at once.
    pub more: bool,
}

impl Store {
    /// Lets go what is first of its key by now, for these keys.
    pub async fn promote_keys(&self, keys: &[String]) -> Result<Promoted, StoreError> {
        let sql = concat!(
            include_str!("../../sql/promote_keys.sql"),
            include_str!("../../sql/promote.sql")
        );
        read(&self.chore(sql, &[(&keys, Type::TEXT_ARRAY)]).await?[0])
    }

    /// Lets go what is first of its key, now that these have ended.
    pub async fn promote_after(&self, ended: &[Lease]) -> Result<Promoted, StoreError> {
        let event_seq: Vec<i64> = ended.iter().map(|lease| lease.event_seq).collect();
        let endpoint: Vec<EndpointKey> = ended.iter().map(|lease| lease.endpoint).collect();
        let sql = concat!(
            include_str!("../../sql/promote_after.sql"),
            include_str!("../../sql/promote.sql")
        );
        let params = [(&event_seq as _, Type::INT8_ARRAY), (&endpoint as _, Type::INT4_ARRAY)];
        read(&self.chore(sql, &params).await?[0])
    }

    /// Lets go what is first of its key, for the next `most` keys of endpoints behind a place.
    pub async fn promote_page(&self, after: &Place, most: i32) -> Result<Promoted, StoreError> {
        let sql = concat!(
            include_str!("../../sql/promote_page.sql"),
            include_str!("../../sql/promote.sql")
        );
        let (key, endpoint) = after;
        let params =
            [(key as _, Type::TEXT), (endpoint as _, Type::INT4), (&most as _, Type::INT4)];
        read(&self.chore(sql, &params).await?[0])
    }
}

fn read(row: &Row) -> Result<Promoted, StoreError> {
    let key: Option<String> = row.try_get(2)?;
    let endpoint: Option<EndpointKey> = row.try_get(3)?;
    Ok(Promoted {
        endpoints: row.try_get(0)?,
        looked: row.try_get(1)?,
        last: key.zip(endpoint),
        more: row.try_get(4)?,
    })
}
