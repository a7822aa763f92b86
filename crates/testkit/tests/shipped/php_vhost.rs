//! What a web server gives of a PHP application, and what it keeps to itself: the virtual host of role `php_site` as the
//! applications' roles have it written, in a real nginx. In the place of php-fpm somebody says which script would be run.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use aegir_testkit::Nginx;
use aegir_testkit::port::free_port;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What stands in every file that nobody may see.
const SECRET: &str = "a key";

/// A site of an application, served.
struct Site {
    nginx: Nginx,
    name: String,
    documents: PathBuf,
    _directory: TempDir,
}

impl Site {
    async fn of(role: &str, name: &str, variables: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (server, port) = (directory.path().join("nginx"), free_port().unwrap());
        fs::create_dir_all(server.join("sites")).unwrap();
        fs::copy("/etc/nginx/fastcgi_params", server.join("fastcgi_params")).unwrap();
        let code = directory.path().join("sites").join(name).join("instances/0123456789ab/code");
        fs::create_dir_all(&code).unwrap();
        symlink("instances/0123456789ab", directory.path().join("sites").join(name).join("current")).unwrap();
        let socket = directory.path().join("pool.sock");
        answer(UnixListener::bind(&socket).unwrap());
        let mut all = json!({
            "aegir": {"target": {"name": name, "id": name}, "operation": "019a0000-0000-7000-8000-000000000001",
                      "services": {}, "hosts": {}},
            "php_site__found": {"current": null, "instances": {}, "ipv6": false},
            "php_site_root": directory.path().join("sites"), "php_site__socket": socket,
            "php_site_listen_addresses": ["127.0.0.1"], "php_site_listen_port": port,
        });
        all.as_object_mut().unwrap().extend(variables.as_object().unwrap().clone());
        write_vhost(role, &all, &server.join("sites/site.conf"), directory.path());
        // It reads the site's file when it starts: a reload lets the workers before answer for a while.
        let nginx = Nginx::start_on(&server, port).await.unwrap();
        let documents = match variables["php_site_document_root"].as_str().unwrap_or_default() {
            "" => code,
            below => code.join(below),
        };
        Self { nginx, name: name.to_owned(), documents, _directory: directory }
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.documents.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Asks for a path as it stands, which a client for people would tidy up.
    async fn get(&self, path: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(("127.0.0.1", self.nginx.port())).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.name);
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Nobody gets any of these files, however they are spelt.
    async fn denies(&self, paths: &[&str]) {
        for path in paths {
            let (place, name) = path.rsplit_once('/').unwrap();
            let mut spelt = vec![
                (*path).to_owned(),
                format!("/{path}"),
                format!("{path}/"),
                format!("{path}/more"),
                format!("{path}."),
                format!("{path}%20"),
                format!("{path}?a=b"),
                format!("/.%2f{}", &path[1..]),
                format!("{place}/{}", name.replace('.', "%2e")),
                format!("{place}/{}", name.replace('.', "%2E")),
                format!("{place}//x/../{name}"),
            ];
            // Names of CVS: as pages have them, they are pages.
            if name.contains('.') || place.contains('.') {
                spelt.push(path.to_uppercase());
            }
            for spelt in spelt {
                let (status, body) = self.get(&spelt).await;
                assert!(matches!(status, 403 | 404), "{spelt} answers {status}: {body}");
                assert!(!body.contains(SECRET), "{spelt} shows {body}");
            }
        }
    }

    /// A file as it is, a script's output, or the page that the application has of that name.
    async fn gives(&self, paths: &[(&str, &str)]) {
        for (path, what) in paths {
            let answer = self.get(path).await;
            assert_eq!(answer, (200, (*what).to_owned()), "{path}");
        }
    }
}

/// Writes the template as Ansible does for the role, with what its tasks say of the application.
fn write_vhost(role: &str, variables: &Value, to: &Path, directory: &Path) {
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../roles");
    let tasks = roles.join(role).join("tasks/site.yml");
    let application = fs::read_to_string(tasks).map_or(json!({}), |text| {
        let tasks: Value = yaml_serde::from_str(&text).unwrap();
        tasks[0]["vars"].clone()
    });
    let files: Vec<_> = ["php_site", role].map(|role| roles.join(role).join("vars/main.yml")).into();
    let template = roles.join("php_site/templates/php_site_vhost.conf.j2");
    let playbook = json!([{ "hosts": "localhost", "gather_facts": false, "vars_files": files, "tasks": [
        { "ansible.builtin.template": { "src": template, "dest": to, "mode": "0644" }, "vars": application },
    ] }]);
    fs::write(directory.join("playbook.yml"), playbook.to_string()).unwrap();
    fs::write(directory.join("variables.json"), variables.to_string()).unwrap();
    let played = Command::new("ansible-playbook")
        .current_dir(directory)
        .args(["-i", "localhost,", "-c", "local", "-e", "@variables.json", "playbook.yml"])
        .env("ANSIBLE_NOCOLOR", "true")
        .output()
        .unwrap();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stdout));
}

/// Answers every request of a FastCGI client with the name of the script.
fn answer(listener: UnixListener) {
    answer_as(listener, |parameters| {
        let script = parameters.split("SCRIPT_FILENAME").last().and_then(|rest| rest.split("/code/").nth(1));
        let script = script.and_then(|rest| rest.split(".php").next()).unwrap_or("nothing");
        format!("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nran {script}.php")
    });
}

/// Answers every request of a FastCGI client with what is made of its parameters.
pub(crate) fn answer_as(listener: UnixListener, mut made: impl FnMut(&str) -> String + Send + 'static) {
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // A client that went away is no failure of the test.
            let _ = answer_one(connection, &mut made);
        }
    });
}

fn answer_one(mut connection: UnixStream, made: &mut impl FnMut(&str) -> String) -> std::io::Result<()> {
    let mut parameters = Vec::new();
    loop {
        let mut head = [0; 8];
        connection.read_exact(&mut head)?;
        let size = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let mut content = vec![0; size + usize::from(head[6])];
        connection.read_exact(&mut content)?;
        match head[1] {
            4 => parameters.extend_from_slice(&content[..size]),
            5 if size == 0 => break,
            _ => {}
        }
    }
    let body = made(&String::from_utf8_lossy(&parameters));
    let mut answer = vec![1, 6, 0, 1];
    answer.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    answer.extend([0, 0]);
    answer.extend(body.as_bytes());
    answer.extend([1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    connection.write_all(&answer)
}

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
    for (root, files) in [("", "sites/default/files"), ("web", "web/sites/default/files")] {
        let variables = json!({"php_site_document_root": root, "php_site_writable_paths": [files]});
        let site = Site::of("drupal", "www.example.test", &variables).await;
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
    let site = Site::of("mediawiki", "wiki.example.test", &json!({})).await;
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

#[tokio::test]
async fn what_a_php_program_never_means_to_show_is_not_given() {
    let site =
        Site::of("php_site", "shop.example.test", &json!({"php_site_writable_paths": ["media"]})).await;
    let denied =
        ["/media/run.php", "/media/x.phtml", "/media/.user.ini", "/plugins/a/vendor/phpunit/eval-stdin.php"];
    let given = [
        ("/index.php", "run"),
        ("/admin/index.php", "run"),
        ("/plugins/a/vendor/chart.js", "file"),
        ("/media/photo.jpg", "file"),
        ("/style.css", "file"),
        ("/feed.json", "file"),
    ];
    let pages = ["/", "/shoes/1", "/vendors", "/a/vendor", "/index.php/vendor/x.sql"];
    check(&site, &denied, &given, &pages).await;
    // A directory with a script of its own.
    site.gives(&[("/admin/", "ran admin/index.php")]).await;
    let bare = Site::of("php_site", "bare.example.test", &json!({})).await;
    bare.put("/index.php", "");
    bare.gives(&[("/vendor/acme", "ran index.php")]).await;
}

#[tokio::test]
async fn a_site_s_name_may_be_as_long_as_names_can_be() {
    let long = format!("{}.example.test", vec!["a".repeat(47); 5].join("."));
    assert_eq!(long.len(), 252);
    for name in [&long[205..], &long] {
        let site = Site::of("php_site", name, &json!({})).await;
        site.put("/index.php", "");
        site.gives(&[("/", "ran index.php")]).await;
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
