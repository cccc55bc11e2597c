//! A file with secrets: what is said of one that is not there, cannot be read, or can be read by too many.

use std::io::ErrorKind;
use std::path::Path;

use super::files::Files;
use super::key_checks::Problem;
use super::report::Diagnostic;

/// None: there is no such file, or it cannot be read. `what` names it; `missing` is said where there is none.
pub(super) fn read(
    path: &Path,
    what: &str,
    missing: Option<Problem>,
    files: &mut Files,
    found: &mut Vec<Diagnostic>,
) -> Option<Vec<u8>> {
    let origin = path.display().to_string();
    let mut say = |problem: Problem| found.push(problem.in_source(&origin));
    let content = match files.read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Some(problem) = missing {
                say(problem);
            }
            return None;
        }
        Err(error) => {
            let message = format!("cannot read the {what} file: {error}");
            say(Problem::error(
                message,
                "check the path and its permissions",
            ));
            return None;
        }
    };
    if let Some(mode) = files.readable_by_others(path) {
        let message =
            format!("the {what} file can be read by others than its owner (mode {mode:04o})");
        say(Problem::warning(message, "chmod 600"));
    }
    Some(content)
}
