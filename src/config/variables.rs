//! `SIDEKEY_…`: which variable sets which option, and which were put there by Kubernetes.

use std::collections::BTreeSet;

use super::report::{Diagnostic, Severity};
use super::suggest::nearest;

/// Names the file, where no flag does.
pub(crate) const CONFIG_VARIABLE: &str = "SIDEKEY_CONFIG";

/// The admin token, for the commands that ask a running program. `run` may have it in its environment, too.
pub const ADMIN_TOKEN_VARIABLE: &str = "SIDEKEY_ADMIN_TOKEN";

pub(crate) fn variable_name(option: &str) -> String {
    format!("SIDEKEY_{}", option.replace('.', "__").to_uppercase())
}

/// A Service named `sidekey` puts `SIDEKEY_PORT=tcp://10.0.0.1:80` and its like into every Pod of the namespace.
pub(crate) fn is_service_link(name: &str, value: &str) -> bool {
    is_service_name(name) || value.starts_with("tcp://") || value.starts_with("udp://")
}

fn is_service_name(name: &str) -> bool {
    name.ends_with("_PORT")
        || name.ends_with("_HOST")
        || name.contains("_SERVICE_")
        || name.contains("_PORT_")
}

pub(crate) fn stray_variable(
    name: &str,
    value: &str,
    options: &BTreeSet<String>,
) -> Option<Diagnostic> {
    if !name.starts_with("SIDEKEY_")
        || [CONFIG_VARIABLE, ADMIN_TOKEN_VARIABLE].contains(&name)
        || is_service_name(name)
    {
        return None;
    }
    let known: Vec<String> = options.iter().map(|option| variable_name(option)).collect();
    let (message, help) = if is_service_link(name, value) {
        let help = "a Service of that name puts it there; rename one of the two".to_owned();
        (
            "ignored: this looks like a Kubernetes service link".to_owned(),
            help,
        )
    } else if known.iter().any(|known| known == name) {
        return None;
    } else {
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => {
                "options are SIDEKEY_NAME or SIDEKEY_SECTION__NAME, with two underscores between"
                    .to_owned()
            }
        };
        ("ignored: no option has this name".to_owned(), help)
    };
    let origin = format!("environment variable {name}");
    Some(Diagnostic::about(&origin, Severity::Warning, message, help))
}
