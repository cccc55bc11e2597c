//! Whether output is coloured, by the conventions of no-color.org and bixense.com/clicolors.

use crate::config::environment::Environment;

pub fn wants_colours(environment: &Environment, is_terminal: bool) -> bool {
    let is_set = |name| environment.get(name).is_some_and(|value| !value.is_empty());
    let is_on = |name| is_set(name) && environment.get(name) != Some("0");
    if is_set("NO_COLOR") {
        return false;
    }
    if is_on("CLICOLOR_FORCE") {
        return true;
    }
    is_terminal
        && environment.get("TERM") != Some("dumb")
        && environment.get("CLICOLOR") != Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_coloured_and_a_pipe_is_not() {
        let wants = |variables: &[(&str, &str)], is_terminal| {
            wants_colours(&variables.iter().copied().collect(), is_terminal)
        };
        assert!(wants(&[], true));
        assert!(!wants(&[], false));
        assert!(!wants(&[("NO_COLOR", "1")], true));
        assert!(wants(&[("NO_COLOR", "")], true));
        assert!(!wants(&[("TERM", "dumb")], true));
        assert!(!wants(&[("CLICOLOR", "0")], true));
        assert!(wants(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!wants(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!wants(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true));
    }
}
