//! The metrics as one text, a few at a time.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue, VARY};
use hyper::{Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Refused;
use super::answer::{plain, respond};
use super::exposition::Format;
use super::series;
use crate::listen::Reply;
use crate::request::Server;

/// SECURITY: everybody may ask for the metrics, and those of ten thousand keys and tenants are 14 MB. Without a bound a
/// hundred clients that ask and do not read would take more than a gigabyte. Two Prometheus and some pages have room.
const MOST: usize = 8;

#[derive(Debug)]
pub struct Scrapes(Arc<Semaphore>);

pub(super) async fn metrics(
    scrapes: &Scrapes,
    server: &Arc<Server>,
    headers: &HeaderMap,
) -> Response<Reply> {
    let format = Format::wanted(headers);
    let server = Arc::clone(server);
    let text = scrapes.text(move || {
        let text = server
            .metrics
            .text(|registry| series::register(&server, registry));
        format.write(text)
    });
    let text = match text.await {
        Ok(text) => text,
        Err((status, sentence)) => return plain(status, sentence),
    };
    let mut response = respond(StatusCode::OK, format.content_type(), text);
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    response
}

impl Default for Scrapes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Scrapes {
    async fn text(
        &self,
        write: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Bytes, Refused> {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            return Err((StatusCode::SERVICE_UNAVAILABLE, TOO_MANY));
        };
        // Away from the threads that serve, because ten thousand keys are a hundred thousand series.
        let written = tokio::task::spawn_blocking(move || {
            Bytes::from_owner(Text {
                text: write(),
                _place: place,
            })
        });
        written.await.map_err(|error| {
            tracing::error!(%error, "writing the metrics panicked");
            (StatusCode::INTERNAL_SERVER_ERROR, PANICKED)
        })
    }
}

/// Holds its place until the last byte is sent, or the client is gone.
struct Text {
    text: String,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

const TOO_MANY: &str = "too many read the metrics at the same time, ask again later\n";
const PANICKED: &str = "the metrics could not be written, the log says why\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn texts_that_nobody_reads_are_few_and_one_that_was_read_makes_room() {
        let scrapes = Scrapes::default();
        let text = || scrapes.text(|| "a 1\n".to_owned());
        let mut unread = Vec::new();
        for _ in 0..MOST {
            unread.push(text().await.unwrap());
        }
        assert_eq!(
            text().await,
            Err((StatusCode::SERVICE_UNAVAILABLE, TOO_MANY))
        );
        unread.pop();
        assert_eq!(text().await.unwrap(), "a 1\n");
    }
}
