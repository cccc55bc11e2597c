//! In which of two text formats metrics go out: OpenMetrics to those who ask for it, as Prometheus does, and the older text
//! to everybody else, because every reader takes that.

use hyper::header::{ACCEPT, HeaderMap};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Text,
}

impl Format {
    /// By `Accept`. Where both are wanted as much, OpenMetrics.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
        let lines = headers.get_all(ACCEPT).iter();
        for part in lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
        {
            let mut parameters = part.split(';').map(|part| part.trim().to_ascii_lowercase());
            let media = parameters.next().unwrap_or_default();
            let (mut version, mut weight) = (None, 1.0_f32);
            for parameter in parameters {
                match parameter.split_once('=') {
                    Some(("q", value)) => weight = value.trim().parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"').to_owned()),
                    _ => {}
                }
            }
            match (&*media, version.as_deref()) {
                ("application/openmetrics-text", None | Some("1.0.0")) => {
                    open_metrics = weight.max(open_metrics);
                }
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => {
                    text = weight.max(text);
                }
                _ => {}
            }
        }
        match open_metrics > 0.0 && open_metrics >= text {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// From OpenMetrics, which is what the library writes.
    pub(super) fn write(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text(&open_metrics),
        }
    }
}

/// The samples are the same. In the older format a family is named as its samples are, and there is neither a type for
/// information, nor a unit, nor an end.
fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // Its family's name depends on the type, which comes on the next line.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take() {
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        for line in accept {
            headers.append(ACCEPT, line.parse().unwrap());
        }
        Format::wanted(&headers)
    }

    #[test]
    fn open_metrics_goes_to_those_who_name_it() {
        // Prometheus 2.42 and 3.
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(wanted(&[prometheus]), Format::OpenMetrics);
        let third = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(wanted(&[third]), Format::OpenMetrics);
        assert_eq!(
            wanted(&["Application/OpenMetrics-Text"]),
            Format::OpenMetrics
        );
        assert_eq!(
            wanted(&["text/plain; q=0.5", "application/openmetrics-text"]),
            Format::OpenMetrics
        );
    }

    #[test]
    fn everybody_else_gets_the_older_text() {
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0.1,text/plain;q=0.9",
            "application/json",
        ] {
            assert_eq!(wanted(&[accept]), Format::Text, "{accept}");
        }
        assert_eq!(wanted(&[]), Format::Text);
    }

    #[test]
    fn in_the_older_text_families_are_named_as_their_samples() {
        let open_metrics = "# HELP a Calls: # HELP x.\n# TYPE a counter\na_total{x=\"# TYPE\"} 1\n\
            # HELP b Program.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
            # HELP c_seconds Time.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 2\n# EOF\n";
        let expected = "# HELP a_total Calls: # HELP x.\n# TYPE a_total counter\na_total{x=\"# TYPE\"} 1\n\
            # HELP b_info Program.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
            # HELP c_seconds Time.\n# TYPE c_seconds gauge\nc_seconds 2\n";
        assert_eq!(text(open_metrics), expected);
    }
}
