//! Every way in which a key file is replaced is noticed by watching, not only by the slow look every 5 s.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use sidekey::sandbox::Dialect;

use crate::support::{World, key, keys, name, until, vendor, within, write};

/// Below the 5 s of the look that comes anyway: a deaf watch fails the test.
const SOON: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_file_written_in_place_is_adopted() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    for n in [1, 2, 1] {
        world.write_keys(&only(n));
        serves_only(&world, n).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_file_renamed_over_the_old_one_is_adopted() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    let new = world.place.path().join(".keys.toml.swp");
    for n in [1, 2, 1] {
        write(&new, &only(n));
        fs::rename(&new, world.keys_path()).unwrap();
        serves_only(&world, n).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_swapped_kubernetes_volume_is_adopted_again_and_again() {
    let mut world = World::prepare(
        vendor(Dialect::Captchaai, 2),
        "keys_file = \"secret/keys.toml\"",
    )
    .await;
    let volume = world.place.path().join("secret");
    fs::create_dir(&volume).unwrap();
    swap(&volume, "..2026_first", &only(1));
    symlink("..data/keys.toml", volume.join("keys.toml")).unwrap();
    world.start_again().await;
    serves_only(&world, 1).await;
    // A watch on the file itself would go deaf at the second swap.
    for (version, n) in [
        ("..2026_second", 2),
        ("..2026_third", 1),
        ("..2026_fourth", 2),
    ] {
        swap(&volume, version, &only(n));
        serves_only(&world, n).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_deleted_file_leaves_the_old_keys_and_a_new_one_is_adopted() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    fs::remove_file(world.keys_path()).unwrap();
    within(SOON, "the loss is told", async || {
        world.metric("sidekey_config_last_reload_successful").await == 0.0
    })
    .await;
    world.submit().await;
    world.write_keys(&only(2));
    serves_only(&world, 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_keys_until_it_is_mended() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    for broken in [
        "",
        "[[key]]\nname = ",
        "[[key]]\nname = \"a\"\nvalue = \"<no value>\"\n",
    ] {
        let refused = "sidekey_config_reloads_total{result=\"refused\"}";
        let before = world.metric(refused).await;
        world.write_keys(broken);
        within(SOON, "the broken file is refused", async || {
            world.metric(refused).await == before + 1.0
        })
        .await;
        assert_eq!(
            world.metric("sidekey_config_last_reload_successful").await,
            0.0
        );
        assert!(
            world
                .state_of(&name(1))
                .await
                .is_some_and(|state| state != "draining")
        );
        world.submit().await;
    }
    world.write_keys(&only(2));
    serves_only(&world, 2).await;
    assert_eq!(
        world.metric("sidekey_config_last_reload_successful").await,
        1.0
    );
    world.end().await;
}

#[tokio::test]
async fn a_broken_certificate_does_not_hold_up_changed_keys() {
    let mut world = World::prepare(
        vendor(Dialect::Captchaai, 2),
        "listen.https = [\"127.0.0.1:0\"]\nlisten.tls_cert = \"cert.pem\"\nlisten.tls_key = \"key.pem\"",
    )
    .await;
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let at = |name: &str| world.place.path().join(name);
    let (cert, key) = (at("cert.pem"), at("key.pem"));
    write(&cert, &pair.cert.pem());
    write(&key, &pair.signing_key.serialize_pem());
    world.write_keys(&only(1));
    world.start_again().await;
    write(&cert, "half a renewal");
    world.write_keys(&only(2));
    serves_only(&world, 2).await;
    fs::remove_file(&key).unwrap();
    world.write_keys(&only(1));
    serves_only(&world, 1).await;
    world.end().await;
}

#[tokio::test]
async fn a_file_that_is_missing_at_the_start_is_adopted_when_it_appears() {
    let mut world = World::prepare(vendor(Dialect::Captchaai, 2), "").await;
    world.start_again().await;
    let refused = world.get("/in.php?key={}&method=userrecaptcha").await;
    assert_eq!(refused, "ERROR_KEY_DOES_NOT_EXIST");
    world.write_keys(&only(2));
    serves_only(&world, 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_directory_that_appears_with_its_keys_is_found() {
    let mut world = World::prepare(
        vendor(Dialect::Captchaai, 2),
        "keys_file = \"later/keys.toml\"",
    )
    .await;
    world.start_again().await;
    let later = world.place.path().join("later");
    fs::create_dir(&later).unwrap();
    write(&later.join("keys.toml"), &only(1));
    // The directory could not be watched while it was not there.
    until("the key is known", async || {
        world.state_of(&name(1)).await.is_some()
    })
    .await;
    write(&later.join("keys.toml"), &only(2));
    serves_only(&world, 2).await;
    world.end().await;
}

fn only(n: usize) -> String {
    keys([(name(n), key(n))])
}

/// As kubelet writes a volume: a new directory, one rename of the link to it, the old directory removed.
fn swap(volume: &Path, version: &str, text: &str) {
    let link = volume.join("..data");
    let old = fs::read_link(&link);
    fs::create_dir(volume.join(version)).unwrap();
    write(&volume.join(version).join("keys.toml"), text);
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), &link).unwrap();
    if let Ok(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

async fn serves_only(world: &World, n: usize) {
    let serves = |state: Option<String>| state.is_some_and(|state| state != "draining");
    let other = 3 - n;
    within(SOON, "the new keys are adopted", async || {
        serves(world.state_of(&name(n)).await) && !serves(world.state_of(&name(other)).await)
    })
    .await;
    let made = world.sandbox.ledger().accounts[&name(n)].made;
    let id = world.submit().await;
    assert_eq!(world.poll(&id).await, format!("OK|solved-{id}"));
    assert_eq!(world.sandbox.ledger().accounts[&name(n)].made, made + 1);
}
