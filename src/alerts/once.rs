//! Of several replicas one tells an alert: the first that asks the server. While nobody can be asked an alert waits, and those
//! who count alone by then each tell their own: told twice is better than not at all.

use std::time::Duration;

use tokio::time::timeout;

use super::cause::Cause;
use super::findings::Finding;
use crate::request::Server;
use crate::store::Due;

const PATIENCE: Duration = Duration::from_secs(2);

/// Those that are this process's to tell, or all of them if nobody can say that yet.
pub(super) async fn ours(
    server: &Server,
    told: Vec<String>,
    due: Vec<Finding>,
) -> Result<Vec<Finding>, Vec<Finding>> {
    let Some(redis) = server.store.replicas() else {
        return Ok(due);
    };
    if told.is_empty() && due.is_empty() {
        return Ok(due);
    }
    let asked = due.iter().map(|finding| Due {
        name: name(finding.cause, &finding.subject),
        told_every: finding.cause.told_every(),
    });
    match timeout(PATIENCE, redis.tell(told, asked.collect())).await {
        Ok(Ok(ours)) => {
            let both = due.into_iter().zip(ours);
            Ok(both
                .filter_map(|(it, is_ours)| is_ours.then_some(it))
                .collect())
        }
        Ok(Err(_)) | Err(_) if server.replicas.is_alone() => Ok(due),
        Ok(Err(_)) | Err(_) => Err(due),
    }
}

pub(super) fn name(cause: Cause, subject: &str) -> String {
    format!("{}\0{subject}", cause.name())
}
