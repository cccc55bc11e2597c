//! The documents, held against the program: commands are run, settings are checked, links lead somewhere, and the failure
//! guide leaves nothing out. CONTRIBUTING.md says how a document is written for this.
#![expect(clippy::unwrap_used, reason = "test support")]

mod commands;
mod guide;
mod links;
mod markdown;
mod names;
mod output;
mod servers;
mod settings;
