//! What a web server gives of a PHP application, and what it keeps to itself: the virtual host of role `php_site` as the
//! applications' roles have it written, in a real nginx and a real Apache. In the place of php-fpm somebody says which script
//! would be run.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use aegir_testkit::port::free_port;
use aegir_testkit::{Apache, Authority, Nginx};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What stands in every file that nobody may see.
const SECRET: &str = "a key";

/// What hosts may offer.
const SERVERS: [&str; 2] = ["nginx", "apache"];

/// A site of an application, served.
struct Site {
    port: u16,
    server: &'static str,
    name: String,
    documents: PathBuf,
    directory: TempDir,
    _running: (Option<Nginx>, Option<Apache>),
}

impl Site {
    async fn of(server: &'static str, role: &str, name: &str, variables: &Value) -> Self {
        Self::answering(server, role, name, variables, answer).await
    }

    async fn answering(
        server: &'static str,
        role: &str,
        name: &str,
        variables: &Value,
        answer: fn(UnixListener),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (at, port) = (directory.path().join(server), free_port().unwrap());
        fs::create_dir_all(at.join("sites")).unwrap();
        let site = directory.path().join("sites").join(name);
        let code = site.join("instances/0123456789ab/code");
        fs::create_dir_all(&code).unwrap();
        fs::write(site.join("instances/0123456789ab/name"), "0123456789ab").unwrap();
        symlink("instances/0123456789ab", site.join("current")).unwrap();
        if let Some(certificate) = variables["php_site__certificate"].as_str() {
            let tls = site.join("tls").join(certificate);
            let identity = Authority::new().unwrap().issue("www.example.test").unwrap();
            fs::create_dir_all(&tls).unwrap();
            fs::write(tls.join("certificate.pem"), identity.certificate).unwrap();
            fs::write(tls.join("key.pem"), identity.key).unwrap();
        }
        let socket = directory.path().join("pool.sock");
        answer(UnixListener::bind(&socket).unwrap());
        for path in [directory.path(), &socket] {
            Apache::let_in(path).unwrap();
        }
        let mut all = json!({
            "aegir": {"target": {"name": name, "id": name}, "operation": "019a0000-0000-7000-8000-000000000001",
                      "services": {server: {"localhost": {}}}, "hosts": {"localhost": {"services": {server: {}}}}},
            "php_site__found": {"current": null, "instances": {}, "ipv6": false},
            "php_site_root": directory.path().join("sites"), "php_site__socket": socket,
            "php_site_listen_addresses": ["127.0.0.1"], "php_site_listen_port": port,
        });
        all.as_object_mut().unwrap().extend(variables.as_object().unwrap().clone());
        write_vhost(role, &all, &at.join("sites/site.conf"), directory.path());
        let more: Vec<_> = variables["php_site_tls_port"]
            .as_u64()
            .map(|port| port.try_into().unwrap())
            .into_iter()
            .collect();
        // It reads the site's file when it starts: a reload lets the workers before answer for a while.
        let running = if server == "nginx" {
            fs::copy("/etc/nginx/fastcgi_params", at.join("fastcgi_params")).unwrap();
            (Some(Nginx::start_on(&at, port).await.unwrap()), None)
        } else {
            (None, Some(Apache::start_on(&at, port, &more).await.unwrap()))
        };
        let documents = match variables["php_site_document_root"].as_str().unwrap_or_default() {
            "" => code,
            below => code.join(below),
        };
        Self { port, server, name: name.to_owned(), documents, directory, _running: running }
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.documents.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Asks for a path as it stands, which a client for people would tidy up.
    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask(path, "").await;
        (status, body)
    }

    /// With more headers, and the answer's head.
    async fn ask(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{headers}\r\n", self.name);
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
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
                let server = self.server;
                assert!(matches!(status, 403 | 404), "{spelt} answers {status} on {server}: {body}");
                assert!(!body.contains(SECRET), "{spelt} shows on {server} {body}");
            }
        }
    }

    /// A file as it is, a script's output, or the page that the application has of that name.
    async fn gives(&self, paths: &[(&str, &str)]) {
        for (path, what) in paths {
            let answer = self.get(path).await;
            assert_eq!(answer, (200, (*what).to_owned()), "{path} on {}", self.server);
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
    let template =
        format!("{}/php_site/templates/php_site_{{{{ php_site__server }}}}.conf.j2", roles.display());
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
    // A byte a character: the lengths of values are no UTF-8.
    let body = made(&parameters.iter().copied().map(char::from).collect::<String>());
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
        ];
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
        let bare = Site::of(server, "php_site", "bare.example.test", &json!({})).await;
        bare.put("/index.php", "");
        bare.gives(&[("/vendor/acme", "ran index.php")]).await;
    }
}

/// What a server tells PHP of a request, by name.
fn told(listener: UnixListener) {
    answer_as(listener, |parameters| {
        let bytes: Vec<_> = parameters.chars().map(|byte| u8::try_from(byte).unwrap()).collect();
        let mut bytes = &bytes[..];
        let mut lines = String::from("Content-Type: text/plain\r\n\r\n");
        let size = |bytes: &mut &[u8]| {
            let long = usize::from(bytes[0] >> 7);
            let taken = &bytes[..1 + 3 * long];
            *bytes = &bytes[1 + 3 * long..];
            taken.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) & 0x7fff_ffff
        };
        while !bytes.is_empty() {
            let (name, value) = (size(&mut bytes), size(&mut bytes));
            let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
            lines += &format!("{}={}\n", text(&bytes[..name]), text(&bytes[name..name + value]));
            bytes = &bytes[name + value..];
        }
        lines
    });
}

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
