//! The metrics as one text, a few at a time.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderValue, VARY};
use hyper::{Response, StatusCode};

use super::answer::{plain, respond};
use super::exposition::Format;
use super::places::Places;
use super::series;
use crate::listen::Reply;
use crate::request::Server;

/// Two Prometheus and some pages have room.
pub(super) const MOST: usize = 8;

pub(super) async fn metrics(
    places: &Places,
    server: &Arc<Server>,
    headers: &HeaderMap,
) -> Response<Reply> {
    let Some(place) = places.take() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY);
    };
    let format = Format::wanted(headers);
    let server = Arc::clone(server);
    // Away from the threads that serve, because ten thousand keys are a hundred thousand series.
    let written = tokio::task::spawn_blocking(move || {
        let text = server
            .metrics
            .text(|registry| series::register(&server, registry));
        place.hold(format.write(text))
    });
    let text = match written.await {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(%error, "writing the metrics panicked");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, PANICKED);
        }
    };
    let mut response = respond(StatusCode::OK, format.content_type(), text);
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    response
}

const TOO_MANY: &str = "too many read the metrics at the same time, ask again later\n";
const PANICKED: &str = "the metrics could not be written, the log says why\n";
