//! A site of a PHP application on a real web server. In the place of php-fpm somebody says which script would be run.

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
pub(crate) const SECRET: &str = "a key";

/// What hosts may offer.
pub(crate) const SERVERS: [&str; 2] = ["nginx", "apache"];

/// A site of an application, served.
pub(crate) struct Site {
    pub(crate) port: u16,
    pub(crate) server: &'static str,
    pub(crate) name: String,
    pub(crate) documents: PathBuf,
    pub(crate) directory: TempDir,
    _running: (Option<Nginx>, Option<Apache>),
}

impl Site {
    pub(crate) async fn of(server: &'static str, role: &str, name: &str, variables: &Value) -> Self {
        Self::answering(server, role, name, variables, answer).await
    }

    pub(crate) async fn answering(
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

    pub(crate) fn put(&self, path: &str, content: &str) {
        let path = self.documents.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Asks for a path as it stands, which a client for people would tidy up.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask(path, "").await;
        (status, body)
    }

    /// With more headers, and the answer's head.
    pub(crate) async fn ask(&self, path: &str, headers: &str) -> (u16, String, String) {
        self.request("GET", path, headers).await
    }

    pub(crate) async fn request(&self, method: &str, path: &str, headers: &str) -> (u16, String, String) {
        request(self.port, &self.name, method, path, headers).await
    }

    /// Nobody gets any of these files, however they are spelt.
    pub(crate) async fn denies(&self, paths: &[&str]) {
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
            // The URL of a directory is one of its index.
            if matches!(name, "index.php" | "index.html") {
                let above = place.rsplit_once('/').map_or("", |(above, _)| above);
                spelt.extend([
                    format!("{place}/"),
                    format!("{place}//"),
                    format!("{place}%2f"),
                    format!("{place}/?a=b"),
                    format!("{place}/."),
                    format!("/x/..{place}/"),
                    format!("{above}/x/..%2f{}/", &place[above.len() + 1..]),
                ]);
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
    pub(crate) async fn gives(&self, paths: &[(&str, &str)]) {
        for (path, what) in paths {
            let answer = self.get(path).await;
            assert_eq!(answer, (200, (*what).to_owned()), "{path} on {}", self.server);
        }
    }
}

/// The status, the head and the body of what a site answers.
pub(crate) async fn request(
    port: u16,
    site: &str,
    method: &str,
    path: &str,
    headers: &str,
) -> (u16, String, String) {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {site}\r\n{headers}\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

/// Writes the template as Ansible does for the role, with what its tasks say of the application.
pub(crate) fn write_vhost(role: &str, variables: &Value, to: &Path, directory: &Path) {
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../roles");
    let tasks = roles.join(role).join("tasks/site.yml");
    let application = fs::read_to_string(tasks).map_or(json!({}), |text| {
        let tasks: Value = yaml_serde::from_str(&text).unwrap();
        tasks[0]["vars"].clone()
    });
    let files: Vec<_> = ["php_site", role].map(|role| roles.join(role).join("vars/main.yml")).into();
    let template =
        format!("{}/php_site/templates/php_site_{{{{ php_site__server }}}}.conf.j2", roles.display());
    write_template(&template, &files, &application, variables, to, directory);
}

/// Writes a template as Ansible does, with the variables of a role's files, of a step, and those that were sent.
pub(crate) fn write_template(
    template: &str,
    files: &[PathBuf],
    step: &Value,
    variables: &Value,
    to: &Path,
    directory: &Path,
) {
    let playbook = json!([{ "hosts": "localhost", "gather_facts": false, "vars_files": files, "tasks": [
        { "ansible.builtin.template": { "src": template, "dest": to, "mode": "0644" }, "vars": step },
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

/// What a server tells PHP of a request, by name.
pub(crate) fn told(listener: UnixListener) {
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
