//! What a request becomes on its way to PHP, and where visitors are sent: the virtual host of role `php_site` in a real nginx
//! and a real Apache.

use std::fs;
use std::process::Command;

use aegir_testkit::port::free_port;
use serde_json::json;

use crate::php_served::{SECRET, SERVERS, Site, told};

#[tokio::test]
async fn a_request_reaches_php_in_the_same_form_whatever_the_server_is() {
    for server in SERVERS {
        let site =
            Site::answering(server, "php_site", "www.example.test", &json!({"php_site_upload": 1}), told)
                .await;
        for script in ["/index.php", "/admin/index.php"] {
            site.put(script, "");
        }
        site.put("/media/.htaccess", "Deny from all\nRewriteEngine On\nRewriteRule . - [F]\n");
        site.put("/media/x.txt", "x");
        let instance = site.directory.path().join("sites/www.example.test/instances/0123456789ab");
        let (instance, headers) = (instance.display(), "Authorization: Basic eDp5\r\nProxy: http://x\r\n");
        for (path, script, info, uri) in [
            ("/shoes/1?a=b%2F", "/index.php", "", "/shoes/1?a=b%2F"),
            ("/A%2FB%3F%20c", "/index.php", "", "/A%2FB%3F%20c"),
            ("/index.php/A%20B/c?d", "/index.php", "/A B/c", "/index.php/A%20B/c?d"),
            ("/admin/", "/admin/index.php", "", "/admin/"),
            ("/", "/index.php", "", "/"),
        ] {
            let (status, _, body) = site.ask(path, headers).await;
            // The same place.
            let body = body.replace("/code/../settings", "/settings");
            assert_eq!(status, 200, "{path} on {server}: {body}");
            let query = uri.split_once('?').map_or("", |(_, query)| query);
            for line in [
                &format!("SCRIPT_FILENAME={instance}/code{script}"),
                &format!("SCRIPT_NAME={script}"),
                &format!("DOCUMENT_ROOT={instance}/code"),
                &format!("REQUEST_URI={uri}"),
                &format!("QUERY_STRING={query}"),
                &format!("PHP_VALUE=auto_prepend_file={instance}/settings/environment.php"),
                "SERVER_NAME=www.example.test",
                &format!("SERVER_PORT={}", site.port),
                "HTTP_AUTHORIZATION=Basic eDp5",
            ] {
                assert!(body.lines().any(|told| told == line), "{path} on {server} lacks {line}: {body}");
            }
            let value = |name: &str| {
                body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
            };
            assert_eq!((value("PATH_INFO"), value("HTTP_PROXY")), (info, ""), "{path} on {server}");
            assert!(!body.contains("aegir_"), "{body}");
        }
        // Also for a directory's script the method is the program's affair.
        for (method, path) in ["PUT", "PATCH", "DELETE", "OPTIONS", "POST"]
            .into_iter()
            .flat_map(|method| ["/", "/shoes/1", "/admin/"].map(|path| (method, path)))
        {
            let (status, _, body) = site.request(method, path, "Content-Length: 0\r\n").await;
            assert_eq!(status, 200, "{method} {path} on {server}: {body}");
            assert!(body.lines().any(|line| line == format!("REQUEST_METHOD={method}")), "{body}");
        }
        // A file that says something to Apache says nothing here.
        site.gives(&[("/media/x.txt", "x")]).await;
        for path in ["/", "/shoes/1", "/index.php"] {
            assert_eq!(site.ask(path, &format!("Content-Length: {}\r\n", 3 << 20)).await.0, 413, "{server}");
        }
        // While it is offline.
        fs::write(site.directory.path().join("sites/www.example.test/offline"), "{}").unwrap();
        for path in ["/", "/index.php", "/media/x.txt", "/nothing", "/.env"] {
            let (status, head, body) = site.ask(path, "").await;
            assert_eq!(status, 503, "{path} on {server}");
            assert!(head.to_lowercase().contains("retry-after: 60"), "{server}: {head}");
            assert!(body.contains("Please come again later"), "{server}: {body}");
        }
    }
}

#[tokio::test]
async fn with_a_certificate_visitors_get_what_they_asked_for_by_https() {
    for server in SERVERS {
        let tls = free_port().unwrap();
        let variables = json!({"php_site__certificate": "0123456789abcdef", "php_site_tls_port": tls});
        let site = Site::answering(server, "php_site", "www.example.test", &variables, told).await;
        site.put("/index.php", "");
        let url = format!("https://www.example.test:{tls}");
        for path in ["/", "/a?b=c%2F&d", "/A%2FB%3Fc%20d?e", "/.env", "/index.php/x"] {
            let (status, head, _) = site.ask(path, "").await;
            let location = head.lines().find_map(|line| line.strip_prefix("Location: "));
            assert_eq!((status, location), (301, Some(&*format!("{url}{path}"))), "{server}");
        }
        // As proxies are asked.
        for (path, to) in [
            ("http://www.example.test/a?b", "/a?b"),
            ("HTTP://www.example.test/a//b", "/a//b"),
            ("http://www.example.test", "/"),
            ("http://www.example.test?a=b", "/?a=b"),
            ("//a", "//a"),
        ] {
            let (status, head, _) = site.ask(path, "").await;
            let location = head.lines().find_map(|line| line.strip_prefix("Location: "));
            // The same URL.
            let location = location.map(|to| to.replace(&format!("{url}?"), &format!("{url}/?")));
            assert_eq!((status, location), (301, Some(format!("{url}{to}"))), "{path} on {server}");
        }
        let resolve = format!("www.example.test:{tls}:127.0.0.1");
        let curl = |path: &str| {
            let mut command = Command::new("curl");
            command.args([
                "--silent",
                "--insecure",
                "--noproxy",
                "*",
                "--max-time",
                "30",
                "--resolve",
                &resolve,
            ]);
            let answer = command.arg(format!("{url}{path}")).output().unwrap();
            String::from_utf8_lossy(&answer.stdout).into_owned()
        };
        let body = curl("/shoes/1");
        for line in
            ["HTTPS=on", "REQUEST_SCHEME=https", &format!("SERVER_PORT={tls}"), "REQUEST_URI=/shoes/1"]
        {
            assert!(body.lines().any(|told| told == line), "{server} lacks {line}: {body}");
        }
        site.put("/.env", SECRET);
        assert!(!curl("/.env").contains(SECRET), "{server}");
    }
}

#[tokio::test]
async fn a_site_s_name_may_be_as_long_as_names_can_be() {
    let long = format!("{}.example.test", vec!["a".repeat(47); 5].join("."));
    assert_eq!(long.len(), 252);
    for (server, name) in SERVERS.into_iter().flat_map(|server| [(server, &long[205..]), (server, &long)]) {
        let site = Site::of(server, "php_site", name, &json!({})).await;
        site.put("/index.php", "");
        site.gives(&[("/", "ran index.php")]).await;
    }
}
