//! `[alerts]`: who is told.

use super::section::Section;
use super::settings::Alerts;
use crate::alerts::webhook::{Webhook, WebhookError};

pub(crate) fn alerts(mut section: Section<'_, '_>) -> Alerts {
    // Never quoted: the path of a webhook is its password.
    let webhook = section.secret_text("webhook").and_then(|url| {
        let error = match Webhook::parse(url.value.trim()) {
            Ok(webhook) => return Some(webhook),
            Err(error) => error,
        };
        let help = match error {
            WebhookError::NotAUrl | WebhookError::Userinfo => {
                "write it as the receiver gives it, like \"https://hooks.example.com/services/...\""
            }
            WebhookError::Plaintext => "use https; http is for a receiver on this host (loopback)",
        };
        let message = format!("the url of `alerts.webhook` {error}");
        section.reader.error(&url.at, message, help);
        None
    });
    section.done();
    Alerts { webhook }
}
