//! Which version of the files serves, and whether a next one will be seen.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::config::origin::Origin;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct File {
    file: String,
}

pub(super) fn register(origin: &Origin, registry: &mut Registry) {
    registry.register(
        "config",
        "The files that serve: replicas with the same contents have the same digits",
        Info::new([("sha256", origin.sha256.clone())]),
    );
    let files = Family::<File, Gauge>::default();
    for source in &origin.sources {
        let file = source.path.display().to_string();
        files
            .get_or_create(&File { file })
            .set(i64::from(source.is_static));
    }
    registry.register(
        "config_file_static",
        "1 for a file or directory whose next version will never be seen, because of how it is mounted",
        files,
    );
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::config::origin::Source;

    #[test]
    fn a_path_of_any_text_is_one_value_on_one_line() {
        let origin = Origin {
            sha256: "0123456789ab".to_owned(),
            sources: vec![Source {
                path: "/etc/a\"b\\c\nd".into(),
                is_static: true,
            }],
        };
        let mut registry = Registry::with_prefix("sidekey");
        register(&origin, &mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = "sidekey_config_file_static{file=\"/etc/a\\\"b\\\\c\\nd\"} 1";
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
