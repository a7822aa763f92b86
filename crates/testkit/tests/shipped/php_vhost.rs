//! What a web server gives of a PHP application, and what it keeps to itself: the virtual host of role `php_site` as the
//! applications' roles have it written, in a real nginx and a real Apache.

use std::fs;

use serde_json::{Value, json};

use crate::php_served::{SECRET, SERVERS, Site, write_vhost};

/// What every PHP application keeps to itself.
const ALWAYS: [&str; 30] = [
    "/.git/config",
    "/.env",
    "/.htaccess",
    "/sub/.htpasswd",
    "/sub/.well-known-not/x.txt",
    "/composer.json",
    "/composer.lock",
    "/composer.local.json",
    "/sub/composer.json",
    "/package.json",
    "/package-lock.json",
    "/yarn.lock",
    "/auth.json",
    "/web.config",
    "/phpunit.xml.dist",
    "/index.php~",
    "/index.php.bak",
    "/index.php.orig",
    "/index.php.save",
    "/index.php.swp",
    "/index.php.txt",
    "/.index.php.swo",
    "/config.inc",
    "/x.phtml",
    "/x.phps",
    "/x.PHP",
    "/dump.sql",
    "/dump.sql.gz",
    "/vendor/autoload.php",
    "/vendor/acme/readme.md",
];

#[tokio::test]
async fn source_and_secrets_of_a_drupal_are_not_given() {
    let roots = [("", "sites/default/files"), ("web", "web/sites/default/files")];
    for (server, (root, files)) in SERVERS.into_iter().flat_map(|server| roots.map(|root| (server, root))) {
        let variables = json!({"php_site_document_root": root, "php_site_writable_paths": [files]});
        let site = Site::of(server, "drupal", "www.example.test", &variables).await;
        // Of Drupal 7 to 11.
        let denied = [
            "/sites/all/modules/agency/agency.module",
            "/sites/all/modules/agency/agency.info",
            "/sites/all/modules/agency/agency.install",
            "/sites/all/modules/agency/agency.inc",
            "/sites/all/modules/agency/agency.test",
            "/sites/all/modules/agency/agency.module~",
            "/sites/all/modules/agency/agency.module.bak",
            "/sites/all/modules/agency/run.php",
            "/sites/all/themes/agency/page.tpl.php",
            "/sites/all/themes/agency/old.tpl",
            "/sites/all/themes/agency/box.xtmpl",
            "/sites/default/settings.php",
            "/sites/default/default.settings.php",
            "/sites/default/settings.local.php",
            "/sites/default/services.yml",
            "/sites/default/private/report.pdf",
            "/sites/default/files/private/report.pdf",
            "/sites/default/files/.htaccess",
            "/sites/default/files/evil.php",
            "/sites/default/files/a.php/b.php",
            "/sites/default/files/evil.phar",
            "/sites/default/files/evil.PHP",
            "/sites/default/files/dump.sql",
            "/sites/default/files/config_abc/sync/user.settings.yml",
            "/sites/default/files/translations/de.po",
            "/modules/custom/agency/agency.info.yml",
            "/modules/custom/agency/src/Agency.php",
            "/modules/custom/agency/tests/x.test",
            "/themes/custom/agency/agency.theme",
            "/themes/custom/agency/templates/page.html.twig",
            "/themes/engines/phptemplate/phptemplate.engine",
            "/profiles/agency/agency.profile",
            "/profiles/agency/drupal-org.make",
            "/scripts/drupal.sh",
            "/core/scripts/drupal.sh",
            "/core/lib/Drupal.php",
            "/core/core.services.yml",
            "/core/package.json",
            "/core/install.php",
            "/core/rebuild.php",
            "/core/authorize.php",
            "/libraries/kcfinder/index.php",
            "/core/tests/index.php",
            "/sites/default/files/private/index.html",
            "/autoload.php",
            "/install.php",
            "/update.php",
            "/authorize.php",
            "/CVS/Root",
            "/CVS/Entries",
            "/CVS/Repository",
        ];
        let given = [
            ("/index.php", "run"),
            ("/robots.txt", "file"),
            ("/.well-known/security.txt", "file"),
            ("/core/misc/drupal.js", "file"),
            ("/core/assets/vendor/jquery/jquery.min.js", "file"),
            ("/core/misc/icons/x.svg", "file"),
            ("/sites/default/files/photo.jpg", "file"),
            ("/sites/default/files/upload.var", "file"),
            ("/sites/default/files/upload.en.var.txt", "file"),
            ("/sites/default/files/css/css_abc.css", "file"),
            ("/sites/default/files/private.pdf", "file"),
            ("/sites/all/modules/agency/agency.css", "file"),
            ("/core/modules/statistics/statistics.php", "run"),
            ("/modules/statistics/statistics.php", "run"),
            ("/xmlrpc.php", "run"),
            ("/CHANGELOG.txt", "file"),
        ];
        let pages = [
            "/",
            "/node/1",
            "/user/login",
            "/tag",
            "/admin/modules",
            "/index.php/node/1",
            "/index.php/a.module",
            "/sites/default/files/styles/thumb/public/photo.png",
            "/system/files/report.pdf",
            "/profile",
            "/install",
        ];
        check(&site, &denied, &given, &pages).await;
    }
}

#[tokio::test]
async fn source_and_secrets_of_a_wiki_are_not_given() {
    for server in SERVERS {
        let site = Site::of(server, "mediawiki", "wiki.example.test", &json!({})).await;
        let denied = [
            "/LocalSettings.php",
            "/LocalSettings.php.old",
            "/maintenance/update.php",
            "/maintenance/tables.json",
            "/includes/Setup.php",
            "/includes/x.js",
            "/cache/l10n.cdb",
            "/docs/scripts.txt",
            "/languages/Language.php",
            "/mw-config/index.php",
            "/tests/qunit/x.js",
            "/bin/ulimit5.sh",
            "/images/deleted/a/b/secret.jpg",
            "/images/temp/a/b/secret.jpg",
            "/images/evil.php",
            "/images/.htaccess",
            "/extensions/Parser/Parser.php",
            "/extensions/Parser/index.php",
            "/extensions/Parser/more/index.php",
            "/skins/Vector/index.php",
            "/images/x/index.php",
            "/extensions/Parser/includes/x.json",
            "/extensions/Parser/sql/tables.txt",
            "/extensions/Parser/vendor/x.js",
            "/skins/Vector/includes/x.mustache",
            "/resources/Resources.php",
            "/autoload.php",
        ];
        let given = [
            ("/index.php", "run"),
            ("/api.php", "run"),
            ("/load.php", "run"),
            ("/rest.php", "run"),
            ("/thumb.php", "run"),
            ("/images/kept.txt", "file"),
            ("/images/thumb/a/b/x.png", "file"),
            ("/resources/assets/poweredby.png", "file"),
            ("/extensions/Parser/resources/x.js", "file"),
            ("/skins/Vector/resources/x.css", "file"),
        ];
        let pages =
            ["/", "/index.php/Kept", "/index.php/Dump.sql", "/index.php/.htaccess", "/rest.php/v1/page/X.sh"];
        let scripts = ["index", "index", "index", "index", "rest"];
        check(&site, &denied, &given, &pages[..4]).await;
        site.gives(&[(pages[4], &format!("ran {}.php", scripts[4]))]).await;
    }
}

#[tokio::test]
async fn what_a_php_program_never_means_to_show_is_not_given() {
    for server in SERVERS {
        let site =
            Site::of(server, "php_site", "shop.example.test", &json!({"php_site_writable_paths": ["media"]}))
                .await;
        let denied = [
            "/media/run.php",
            "/media/x.phtml",
            "/media/.user.ini",
            "/plugins/a/vendor/phpunit/eval-stdin.php",
            "/plugins/a/vendor/x/index.php",
            "/media/x/index.php",
        ];
        let given = [
            ("/index.php", "run"),
            ("/admin/index.php", "run"),
            ("/plugins/a/vendor/chart.js", "file"),
            ("/media/photo.jpg", "file"),
            ("/style.css", "file"),
            ("/feed.json", "file"),
            // What Debian's Apache has for all sites.
            ("/icons/x.png", "file"),
            ("/cgi-bin/x.txt", "file"),
            ("/server-status/x.txt", "file"),
            ("/media/x.var", "file"),
            ("/media/x.shtml", "file"),
        ];
        let pages = [
            "/",
            "/shoes/1",
            "/vendors",
            "/a/vendor",
            "/index.php/vendor/x.sql",
            "/icons/other.png",
            "/icons/other",
        ];
        check(&site, &denied, &given, &pages).await;
        // A directory with a script of its own, and one without any.
        site.gives(&[("/admin/", "ran admin/index.php"), ("/admin/?a=b", "ran admin/index.php")]).await;
        site.put("/guide/index.html", "a guide");
        site.gives(&[("/guide/", "a guide")]).await;
        for bare in ["/plugins/", "/plugins/a/", "/icons/"] {
            assert_eq!(site.get(bare).await.0, 403, "{bare} on {server}");
        }
        let bare = Site::of(server, "php_site", "bare.example.test", &json!({})).await;
        bare.put("/index.php", "");
        for path in ["/vendor/acme", "/icons/README", "/cgi-bin/x", "/server-status", "/server-status?auto"] {
            bare.gives(&[(path, "ran index.php")]).await;
        }
    }
}

#[test]
fn what_the_host_has_recorded_of_a_site_holds_until_it_is_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let name = "www.example.test";
    let recorded = json!({
        "document_root": "htdocs", "writable_paths": ["htdocs/media"], "upload": 7, "listen_port": 8080, "certificate": "0123456789abcdef",
    });
    let vhost = |sent: &Value| {
        let mut all = json!({
            "aegir": {"target": {"name": name, "id": name}, "operation": "019a0000-0000-7000-8000-000000000001",
                      "services": {}, "hosts": {}},
            "php_site__found": {"current": "0123456789ab", "ipv6": true, "instances": {"0123456789ab": {
                "site": name, "variables": recorded, "service": {"tls_port": 8443},
            }}},
            "php_site_root": "/sites", "php_site__socket": "/x.sock",
        });
        all.as_object_mut().unwrap().extend(sent.as_object().unwrap().clone());
        let file = directory.path().join("site.conf");
        write_vhost("php_site", &all, &file, directory.path());
        fs::read_to_string(file).unwrap()
    };
    let has = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    };
    let kept = vhost(&json!({}));
    has(
        &kept,
        &[
            "tls/0123456789abcdef/key.pem",
            "listen [::]:8443 ssl;",
            "listen 0.0.0.0:8080;",
            "https://www.example.test:8443",
        ],
    );
    has(&kept, &["current/code/htdocs;", "location ^~ /media/ {", "client_max_body_size 8m;"]);
    let taken = vhost(&json!({
        "php_site_certificate": "", "php_site_listen_port": 0, "php_site_writable_paths": [], "php_site_document_root": "",
    }));
    has(&taken, &["listen 0.0.0.0:80;", "current/code;", "client_max_body_size 8m;"]);
    assert!(!taken.contains("ssl") && !taken.contains("location ^~"), "{taken}");
}

#[test]
fn a_site_is_served_by_what_its_host_offers_and_otherwise_by_what_has_it() {
    let directory = tempfile::tempdir().unwrap();
    for (was, offered, expected) in [
        (json!({}), json!({"apache": {}, "nginx": {}}), "server {"),
        (json!({"server": "apache"}), json!({"php-fpm": {}}), "<VirtualHost *:80>"),
        (
            json!({"server": "apache"}),
            json!({"apache": {"listen_port": 81}, "nginx": {}}),
            "<VirtualHost *:81>",
        ),
        (json!({"server": "apache"}), json!({"nginx": {}}), "server {"),
    ] {
        let services: serde_json::Map<_, _> = offered
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, settings)| (name.clone(), json!({"localhost": settings})))
            .collect();
        let all = json!({
            "aegir": {"target": {"name": "www.example.test", "id": "1"}, "operation": "019a0000-0000-7000-8000-000000000001",
                      "services": services, "hosts": {"localhost": {"services": offered}}},
            "php_site__found": {"current": "0123456789ab", "ipv6": true, "instances": {"0123456789ab": {
                "site": "www.example.test", "variables": {}, "service": was,
            }}},
            "php_site_root": "/sites", "php_site__socket": "/x.sock",
        });
        let file = directory.path().join("site.conf");
        write_vhost("php_site", &all, &file, directory.path());
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(expected), "{was} on {offered}: {text}");
    }
}

async fn check(site: &Site, denied: &[&str], given: &[(&str, &str)], pages: &[&str]) {
    let denied: Vec<_> = ALWAYS.iter().chain(denied).copied().collect();
    for path in &denied {
        site.put(path, SECRET);
    }
    let mut expected = Vec::new();
    for (path, what) in given {
        site.put(path, if *what == "file" { path } else { SECRET });
        let root = site.documents.to_str().unwrap().split("/code").nth(1).unwrap().trim_start_matches('/');
        let script = format!("ran {root}{}", if root.is_empty() { &path[1..] } else { path });
        expected.push((*path, if *what == "file" { (*path).to_owned() } else { script }));
    }
    site.denies(&denied).await;
    let front = expected[0].1.clone();
    expected.extend(pages.iter().map(|path| (*path, front.clone())));
    let expected: Vec<_> = expected.iter().map(|(path, what)| (*path, what.as_str())).collect();
    site.gives(&expected).await;
}
