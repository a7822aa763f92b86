//! The role `static_site`: what it deploys, what it refuses, what it leaves alone.

use std::fs;
use std::os::unix::fs::symlink;

use crate::play::{PlayDirectory, SITE};

#[tokio::test]
async fn a_site_is_deployed_served_replaced_and_deleted() {
    let stage = PlayDirectory::new().await;
    let neighbour = stage.directory.path().join("sites/example.test.other");
    fs::create_dir_all(&neighbour).unwrap();

    stage.play("codebase").await.changes(true);
    stage.play("vhost").await.changes(true);
    stage.play("verify").await.changes(false);
    assert_eq!(stage.nginx.fetch(SITE, "/").await.unwrap(), (200, b"<h1>one</h1>\n".to_vec()));

    let output = stage.play("codebase").await.changes(false);
    assert!(output.contains("nothing changes"), "{output}");
    stage.play("vhost").await.changes(false);

    // Same length, same time: the page must be the new one all the same.
    fs::write(stage.source().join("index.html"), "<h1>two</h1>\n").unwrap();
    stage.play("codebase").await.changes(true);
    stage.play("verify").await.changes(false);
    assert_eq!(stage.nginx.fetch(SITE, "/").await.unwrap().1, b"<h1>two</h1>\n");
    assert_eq!(stage.releases().len(), 2);

    stage.play("delete").await.changes(true);
    assert_eq!(stage.nginx.fetch(SITE, "/").await.unwrap().0, 404);
    assert!(!stage.site().exists() && neighbour.exists());
    stage.play("delete").await.changes(false);
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let stage = PlayDirectory::new().await;
    for task in ["codebase", "vhost", "verify"] {
        let played = stage.play_with(task, &["--check", "--diff"]).await;
        played.changes(task != "verify");
    }
    assert!(!stage.site().exists());
    assert_eq!(fs::read_dir(stage.nginx.directory().join("sites")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_source_outside_its_root_is_refused() {
    let mut stage = PlayDirectory::new().await;
    let base = stage.directory.path().to_owned();
    symlink("/etc", base.join("content/link")).unwrap();
    symlink(stage.source(), base.join("content/inner")).unwrap();
    fs::create_dir(base.join("content-beside")).unwrap();
    for source in ["/etc", "content/../nginx", "content", "content/link", "content/inner", "content-beside"] {
        stage.set("source", base.join(source).to_str().unwrap());
        stage.play("codebase").await.refuses("source_not_allowed: ");
    }
    assert!(!stage.site().exists());
}

#[tokio::test]
async fn a_link_that_leads_out_of_the_source_is_refused_and_one_that_stays_inside_is_kept() {
    let stage = PlayDirectory::new().await;
    symlink("index.html", stage.source().join("inside.html")).unwrap();
    stage.play("codebase").await.changes(true);
    assert!(stage.site().join("current/inside.html").is_symlink());
    symlink("/etc/passwd", stage.source().join("outside.html")).unwrap();
    stage.play("codebase").await.refuses("source_not_allowed: the link outside.html leads out");
    fs::remove_file(stage.source().join("outside.html")).unwrap();
    fs::create_dir(stage.source().join("below")).unwrap();
    symlink("../../other", stage.source().join("below/up")).unwrap();
    stage.play("codebase").await.refuses("source_not_allowed: the link below/up leads out");
}

#[tokio::test]
async fn a_release_of_many_files_begins_with_what_the_current_one_has_of_it() {
    let stage = PlayDirectory::new().await;
    let (source, current) = (stage.source(), stage.site().join("current"));
    fs::create_dir(source.join("pages")).unwrap();
    let page = |number: usize| format!("pages/{number}.html");
    // More than are sent whole.
    for number in 0..510 {
        fs::write(source.join(page(number)), format!("page {number}")).unwrap();
    }
    stage.play("codebase").await.changes(true);

    // As a web server's user would not, but somebody did: the page has its length and is another one.
    fs::write(current.join(page(3)), "evil 3").unwrap();
    fs::remove_file(current.join(page(4))).unwrap();
    symlink("/etc/passwd", current.join("pages/new.html")).unwrap();
    fs::write(source.join(page(1)), "page one").unwrap();
    fs::write(source.join("pages/new.html"), "new").unwrap();
    fs::remove_file(source.join(page(2))).unwrap();
    symlink("5.html", source.join("pages/link.html")).unwrap();
    let output = stage.play("codebase").await.changes(true);
    assert!(output.contains("Copy what it has of that"), "{output}");
    let same = std::process::Command::new("diff")
        .args(["--recursive", "--no-dereference"])
        .args([&source, &fs::canonicalize(&current).unwrap()])
        .output()
        .unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    let releases = stage.site().join("releases");
    let left: Vec<_> = fs::read_dir(releases).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    stage.play("codebase").await.changes(false);
}

#[tokio::test]
async fn urls_that_read_the_disk_or_run_programs_are_refused() {
    let mut stage = PlayDirectory::new().await;
    let cases = [
        ("git", "file:///etc"),
        ("git", "ext::sh -c id"),
        ("git", "/etc"),
        ("git", "-uid"),
        ("git", "https://user:password@example.test/x"),
        ("git", "ssh://-oProxyCommand=id/x"),
        ("archive", "file:///etc/passwd"),
        ("archive", "ftp://example.test/x.tar"),
        ("archive", "http://example.test/unchecked.tar"),
    ];
    for (kind, source) in cases {
        stage.set("source_kind", kind);
        stage.set("source", source);
        stage.play("codebase").await.refuses("source_not_allowed: ");
    }
    stage.set("source_kind", "git");
    stage.set("source", "https://example.test/x");
    stage.set("ref", "-x");
    stage.play("codebase").await.refuses("source_not_allowed: ");
}

#[tokio::test]
async fn values_are_never_templates() {
    let mut stage = PlayDirectory::new().await;
    let name = "{{ lookup('pipe', 'id') }}";
    let source = stage.directory.path().join("content").join(name);
    fs::create_dir(&source).unwrap();
    fs::write(source.join("index.html"), "braces\n").unwrap();
    stage.set("source", source.to_str().unwrap());
    stage.set("expected", name);
    stage.play("codebase").await.changes(true);
    stage.play("vhost").await.changes(true);
    assert_eq!(fs::read(stage.site().join("current/index.html")).unwrap(), b"braces\n");
    stage.set("patience", 0);
    stage.play("verify").await.refuses("does not hold the expected text");
}

#[tokio::test]
async fn a_directory_that_is_no_site_is_neither_taken_nor_removed() {
    let stage = PlayDirectory::new().await;
    fs::create_dir_all(stage.site()).unwrap();
    fs::write(stage.site().join("precious"), "x").unwrap();
    stage.play("codebase").await.refuses("is no site");
    stage.play("delete").await.refuses("is no site");
    assert!(stage.site().join("precious").exists());
}

#[tokio::test]
async fn a_broken_server_keeps_its_configuration() {
    let stage = PlayDirectory::new().await;
    stage.play("codebase").await.changes(true);
    let sites = stage.nginx.directory().join("sites");
    fs::write(sites.join("broken.conf"), "nonsense;\n").unwrap();
    stage.play("vhost").await.refuses("does not take the file");
    assert_eq!(fs::read_dir(&sites).unwrap().count(), 1, "the virtual host was left behind");
    fs::remove_file(sites.join("broken.conf")).unwrap();
    stage.play("vhost").await.changes(true);
}

#[tokio::test]
async fn a_reload_that_an_interrupted_attempt_owes_is_made_up_for() {
    let stage = PlayDirectory::new().await;
    stage.play("codebase").await.changes(true);
    stage.play("vhost").await.changes(true);
    fs::write(stage.nginx.directory().join("sites/aegir-example.test.conf.reload"), "").unwrap();
    stage.play("vhost").await.changes(true);
    stage.play("vhost").await.changes(false);
}

#[tokio::test]
async fn only_the_last_releases_are_kept() {
    let mut stage = PlayDirectory::new().await;
    stage.set("keep_releases", 2);
    for page in ["one", "two", "three"] {
        fs::write(stage.source().join("index.html"), page).unwrap();
        stage.play("codebase").await.changes(true);
    }
    assert_eq!(stage.releases().len(), 2);
    assert_eq!(fs::read_to_string(stage.site().join("current/index.html")).unwrap(), "three");
}

#[tokio::test]
async fn what_the_site_does_not_say_the_service_of_the_host_says() {
    let mut stage = PlayDirectory::new().await;
    let mut settings = serde_json::Map::new();
    for name in ["mode", "server_directory", "listen_addresses", "listen_port"] {
        settings.insert(name.to_owned(), stage.variables.remove(name).unwrap());
    }
    stage.services = serde_json::json!({ "nginx": { "web1": settings } });
    for task in ["codebase", "vhost"] {
        stage.play(task).await.changes(true);
    }
    stage.play("verify").await.changes(false);
    stage.services["nginx"]["web1"]["server_directory"] = "relative/../path".into();
    stage.play("vhost").await.refuses("must be a port and listen_addresses");
}

#[tokio::test]
async fn what_the_host_has_recorded_of_a_site_holds_until_it_is_taken_away() {
    let mut stage = PlayDirectory::new().await;
    fs::create_dir(stage.source().join("public")).unwrap();
    fs::write(stage.source().join("public/index.html"), "public\n").unwrap();
    stage.set("document_root", "public");
    stage.set("keep_releases", 1);
    for task in ["codebase", "vhost"] {
        stage.play(task).await.changes(true);
    }
    // All that was ever said, but for where the site is and what it is made of.
    stage.variables.retain(|name, _| matches!(name.as_str(), "source" | "root"));
    for task in ["codebase", "vhost"] {
        stage.play(task).await.changes(false);
    }
    assert_eq!(stage.nginx.fetch(SITE, "/").await.unwrap(), (200, b"public\n".to_vec()));
    fs::write(stage.source().join("index.html"), "two\n").unwrap();
    stage.play("codebase").await.changes(true);
    assert_eq!(stage.releases().len(), 1);
    stage.set("document_root", "");
    stage.play("vhost").await.changes(true);
}

#[tokio::test]
async fn without_addresses_a_site_listens_on_ipv4_and_ipv6() {
    let mut stage = PlayDirectory::new().await;
    stage.set("listen_addresses", serde_json::json!([]));
    stage.set("listen_port", aegir_testkit::port::free_port().unwrap());
    stage.play("codebase").await.changes(true);
    stage.play("vhost").await.changes(true);
    stage.play("verify").await.changes(false);
    let vhost = stage.nginx.directory().join("sites/aegir-example.test.conf");
    let ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
    assert_eq!(fs::read_to_string(vhost).unwrap().contains("listen [::]:"), ipv6);
}
