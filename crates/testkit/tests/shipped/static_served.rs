//! What a web server gives of a static site, and what not: the virtual host of role `static_site` in a real nginx and a real
//! Apache.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use aegir_testkit::port::free_port;
use aegir_testkit::{Apache, Nginx};
use serde_json::json;

use crate::php_served::{SERVERS, request, write_template};

const SITE: &str = "www.example.test";

#[tokio::test]
async fn every_file_of_a_static_site_is_given_as_it_is_whatever_the_server_s_own_configuration_says() {
    for server in SERVERS {
        let directory = tempfile::tempdir().unwrap();
        let (at, port) = (directory.path().join(server), free_port().unwrap());
        fs::create_dir_all(at.join("sites")).unwrap();
        Apache::let_in(directory.path()).unwrap();
        let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../roles/static_site");
        let variables = json!({
            "aegir": {"target": {"name": SITE, "id": SITE}, "services": {}},
            "codebase__record": {"variables": {}, "service": {}, "ipv6": false},
            "static_site_root": directory.path().join("sites"),
            "static_site_listen_addresses": ["127.0.0.1"], "static_site_listen_port": port,
        });
        let template = role.join("templates").join(format!("{server}.conf.j2"));
        let (files, vhost) = ([role.join("vars/main.yml")], at.join("sites/site.conf"));
        write_template(template.to_str().unwrap(), &files, &json!({}), &variables, &vhost, directory.path());
        let site = directory.path().join("sites").join(SITE);
        let put = |path: &str, content: &str| {
            let path = site.join("releases/1").join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let given = [
            "/index.html",
            "/icons/x.png",
            "/cgi-bin/x.txt",
            "/server-status/x.txt",
            "/x.var",
            "/x.en.var.html",
            "/x.shtml",
            "/old/index.php",
            "/old/index.cgi",
            "/.well-known/security.txt",
        ];
        let denied = ["/.htaccess", "/.git/config", "/server-status/.htaccess", "/icons/.env"];
        for path in given.into_iter().chain(denied) {
            put(path, path);
        }
        put("/page/index.htm", "a page");
        symlink("releases/1", site.join("current")).unwrap();
        let _running = if server == "nginx" {
            (Some(Nginx::start_on(&at, port).await.unwrap()), None)
        } else {
            (None, Some(Apache::start_on(&at, port, &[]).await.unwrap()))
        };
        let pages = [("/", "/index.html"), ("/page/", "a page")];
        for (path, expected) in given.map(|path| (path, path)).into_iter().chain(pages) {
            let (status, _, body) = request(port, SITE, "GET", path, "").await;
            assert_eq!((status, &*body), (200, expected), "{path} on {server}");
        }
        // A directory without an index, one of an alias, and what a server says of itself.
        let nothing = ["/old/", "/icons/", "/icons/README", "/server-status", "/server-status?auto", "/none"];
        for path in nothing.into_iter().chain(denied) {
            let (status, _, body) = request(port, SITE, "GET", path, "").await;
            assert!(matches!(status, 301 | 403 | 404), "{path} answers {status} on {server}: {body}");
        }
    }
}
