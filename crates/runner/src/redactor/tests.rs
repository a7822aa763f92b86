use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::json;

use crate::output::{OutputPiece, Splitter};

fn redactor(secrets: &[&str]) -> Redactor {
    Redactor::new(secrets.iter().copied()).unwrap()
}

#[track_caller]
fn check(secrets: &[&str], text: &str, expected: &str) {
    assert_eq!(redactor(secrets).mask_text(text), expected, "{text}");
}

/// What is given out of a stream that comes in chunks of this many bytes.
fn streamed(redactor: &Redactor, text: &str, step: usize) -> String {
    let mut splitter = Splitter::new(redactor.clone());
    let mut masked = Vec::new();
    let mut emit = |piece: OutputPiece<'_>| {
        masked.extend_from_slice(piece.bytes);
        Ok::<_, ()>(())
    };
    for chunk in text.as_bytes().chunks(step) {
        splitter.push(chunk, &mut emit).unwrap();
    }
    splitter.finish(&mut emit).unwrap();
    String::from_utf8(masked).unwrap()
}

#[test]
fn a_long_secret_that_repeats_itself_is_masked() {
    let secret = "a".repeat(20_000);
    check(&[&secret], &format!("x{secret}y"), &format!("x{MASK}y"));
}

#[test]
fn a_secret_is_masked_in_every_form_that_programs_give_it() {
    let secret = "pa ss\"wörd/1";
    check(&[secret], "it is pa ss\"wörd/1.", "it is ********.");
    check(&[secret], &json!({ "p": secret }).to_string(), r#"{"p":"********"}"#);
    check(&[secret], r#"{"p": "pa ss\"w\u00f6rd/1"}"#, r#"{"p": "********"}"#);
    check(&[secret], r#"{"p": "pa ss\"w\u00f6rd\/1"}"#, r#"{"p": "********"}"#);
    check(&[secret], "?p=pa%20ss%22w%C3%B6rd%2F1&x", "?p=********&x");
    check(&[secret], "?p=pa%20ss%22w%c3%b6rd/1&x", "?p=********&x");
    check(&[secret], "p=pa+ss%22w%C3%B6rd%2F1", "p=********");
    for prefix in ["", "u", "us", "user:"] {
        let encoded = STANDARD_NO_PAD.encode(format!("{prefix}{secret}"));
        let masked = redactor(&[secret]).mask_text(&encoded);
        assert!(masked.contains(MASK), "{prefix}: {encoded} stayed {masked}");
    }
}

/// What the programs of a role print of the three passwords of a bug report.
#[test]
fn what_urlencode_quote_and_to_json_make_of_a_secret_is_masked() {
    check(&["ab/cd+ef gh"], "postgres://app:ab/cd%2Bef%20gh@db/app", "postgres://app:********@db/app");
    check(&["ab/cd+ef gh"], "--password='ab/cd+ef gh' -h", "--password='********' -h");
    let quoted = r#""cmd": "mysqladmin --password='it'\"'\"'s-aSecret'\"'\"'99' -h 127.0.0.1""#;
    let masked = r#""cmd": "mysqladmin --password='********' -h 127.0.0.1""#;
    check(&["it's-aSecret'99"], quoted, masked);
    check(&["it's-aSecret'99"], r"--password=it\'s-aSecret\'99 ", "--password=******** ");
    let twice = r#"["-d", "{\"user\": \"x\", \"password\": \"corr\\\"ect-h\\u00f6rse\"}", "http"]"#;
    let masked = r#"["-d", "{\"user\": \"x\", \"password\": \"********\"}", "http"]"#;
    check(&["corr\"ect-hörse"], twice, masked);
    check(&["corr\"ect-hörse"], "$'corr\"ect-h\\303\\266rse'", r#"$'********'"#);
    check(&["corr\"ect-hörse"], "corr&quot;ect-h&ouml;rse", "********");
    check(
        &["corr\"ect-hörse"],
        "%7B%22p%22%3A%22corr%5C%22ect-h%5Cu00f6rse%22%7D",
        "%7B%22p%22%3A%22********%22%7D",
    );
}

#[test]
fn a_short_secret_is_masked_in_its_escapes_and_not_across_lines() {
    check(
        &["it's-a"],
        r#"'it'"'"'s-a' it\'s-a it&#39;s-a it%27s-a"#,
        "'********' ******** ******** ********",
    );
    check(&["it's-a"], "its-a\nit's\n-a", "its-a\nit's\n-a");
    check(&["abc'def"], "abcdef abc''def", "abcdef ********");
    check(&["secret"], "sec\nret sec ret sec-ret", "sec\nret sec ret sec-ret");
    check(&["secret"], "c2VjcmV0 736563726574", "******** ********");
}

#[test]
fn a_word_is_not_masked_where_it_lacks_the_quotes_that_a_secret_has_around_it() {
    check(&["'true'"], "it is true, and 'true' or \"'true'\"", "it is true, and ******** or ********");
    check(&["\"null\""], r#"null "null" \"null\" {"a": null}"#, r#"null ******** ******** {"a": null}"#);
    check(&["\"1234\""], "1234 12345 %221234%22 &quot;1234&quot;", "1234 12345 ******** ********");
    check(&["'admin"], "admin 'admin", "admin ********");
    check(&["admin'"], "admin admin''", "admin ********");
    check(&["123456"], "123456 1234567 12345", "******** ********7 12345");
}

#[test]
fn the_password_of_a_url_is_masked_as_clients_decode_it() {
    for (encoded, meant) in [
        ("s3cr%21t%40", "s3cr!t@"),
        ("p%40ss%21x", "p@ss!x"),
        ("a%2fb%3Ac1", "a/b:c1"),
        ("w%C3%B6rd%27s", "wörd's"),
        ("longer%40pass%21word", "longer@pass!word"),
    ] {
        let url = format!("mysql://app:{encoded}@db/app");
        for secret in [url.clone(), json!({ "url": url }).to_string(), format!("DATABASE_URL='{url}'\n")] {
            let text = format!("-p'{meant}' {encoded} {}", json!({ "password": meant }));
            check(&[&secret], &text, r#"-p'********' ******** {"password":"********"}"#);
            let basic = STANDARD.encode(format!("app:{meant}"));
            assert!(redactor(&[&secret]).mask_text(&basic).contains(MASK), "{basic} of {secret}");
        }
        check(&[encoded], meant, "********");
    }
}

#[test]
fn a_short_secret_that_is_escaped_itself_is_masked_without_its_escapes() {
    check(&["a&amp;bcd1"], "a&bcd1 a&amp;bcd1", "******** ********");
    check(&[r"p\u00f6s\/12"], r"pös/12 p\u00f6s/12", "******** ********");
    check(&["%61dmin"], "admin %61dmin", "admin ********");
    check(&["100%25x"], "100x 100%25x", "100x ********");
}

#[test]
fn a_short_secret_of_many_quotes_is_masked_where_they_are_escaped() {
    let secret = r#""a"b"c""#;
    let text = json!({ "p": secret, "q": ["a", "b", "c", "abc"] }).to_string();
    check(&[secret], &text, r#"{"p":********,"q":["a","b","c","abc"]}"#);
    check(&[secret], "%22a%22b%22c%22 &quot;a&quot;b&quot;c&quot; abc 'abc'", "******** ******** abc 'abc'");
    check(&["'''a'''"], r"\'\'\'a\'\'\' a 'a' ''a''", "******** a 'a' ''a''");
}

#[test]
fn what_is_wrapped_is_masked_in_each_of_its_lines() {
    let secret: String = (0..30).map(|n| format!("line {n} of it\n")).collect();
    for width in [64, 76] {
        for (indent, end) in [("", "\n"), ("    ", "\n"), ("", "\r\n"), ("\"", "\" \\\n"), ("", "\\n")] {
            let encoded = STANDARD.encode(&secret);
            let lines: Vec<&str> =
                encoded.as_bytes().chunks(width).map(|c| std::str::from_utf8(c).unwrap()).collect();
            let text: String = lines.iter().map(|line| format!("{indent}{line}{end}")).collect();
            let masked = redactor(&[&secret]).mask_text(&format!("begin\n{text}end\n"));
            assert!(lines.iter().all(|line| !masked.contains(&line[..line.len().min(8)])), "{masked}");
            let count = |text: &str| text.matches('\n').count();
            assert_eq!(count(&masked), count(&text) + 2, "{masked}");
            assert!(masked.starts_with("begin\n") && masked.ends_with("end\n"), "{masked}");
        }
    }
    check(&["correct horse battery"], "a: correct horse\n   battery", "a: ********\n   ********");
}

#[test]
fn a_secret_of_many_lines_is_masked_by_each_of_them() {
    check(&["first line\nx\nthird line\n"], "a\nthird line\nb first line", "a\n********\nb ********");
    check(&["first line\nx\nthird line\n"], "first line\nx\nthird line\n", "********\n********\n********\n");
}

#[test]
fn nothing_shows_where_secrets_overlap() {
    check(&["abcdef", "defghi"], "-abcdefghi-", "-********-");
    check(&["secret", "secretive"], "secretive secret", "******** ********");
}

#[test]
fn short_parts_and_no_secrets_mask_nothing() {
    check(&["a\nbb\nccc"], "a bb ccc", "a bb ccc");
    check(&[], "anything", "anything");
}

#[test]
fn a_value_is_masked_to_its_keys() {
    let masked = redactor(&["hunter22"]).mask_value(&json!({ "hunter22": ["x hunter22", 1, null] }));
    assert_eq!(masked, json!({ MASK: [format!("x {MASK}"), 1, null] }));
    assert_eq!(redactor(&["48151623"]).mask_value(&json!([48151623, 4815162])), json!([MASK, 4815162]));
}

const ACCOUNT: &str = r#"{
  "type": "service_account",
  "project_id": "demo-project",
  "private_key": "-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo\n-----END KEY-----\n",
  "client_email": "x@demo.example",
  "pin": 123456,
  "token_uri": "https://oauth2.example.com/token"
}
"#;

#[test]
fn a_document_is_masked_however_it_is_laid_out() {
    let redactor = redactor(&[ACCOUNT]);
    let value: Value = serde_json::from_str(ACCOUNT).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let compact = value.to_string();
    let layouts = [
        ACCOUNT.to_owned(),
        format!("{{\n    \"msg\": {}\n}}", Value::from(compact.clone())),
        format!("\"msg\": {}", json!([compact])),
        format!(
            "{{'type': 'service_account', 'private_key': '{}'}}",
            value["private_key"].as_str().unwrap().replace('\n', "\\n")
        ),
        yaml_serde::to_string(&value).unwrap(),
        value["private_key"].as_str().unwrap().to_owned(),
        pretty,
        compact,
    ];
    for text in layouts {
        let masked = redactor.mask_text(&text);
        assert!(!masked.contains("QUJDREVG") && !masked.contains("123456"), "{text} stayed {masked}");
    }
    let ordinary =
        "the service_account of demo-project is x@demo.example, see https://oauth2.example.com/token";
    assert_eq!(redactor.mask_text(ordinary), ordinary);
}

#[test]
fn the_values_of_a_document_are_masked_where_they_stand_alone() {
    let docker =
        json!({"auths": {"registry.example": {"auth": STANDARD.encode("robot:hunter22")}}}).to_string();
    check(
        &[&docker],
        "docker login -u robot -p hunter22 registry.example",
        "docker login -u robot -p ******** registry.example",
    );
    let yaml = "database:\n  host: localhost\n  password: staging\n  keys: [abcdefgh, 'x9-yz8']\n";
    check(
        &[yaml],
        "localhost staging abcdefgh x9-yz8 database:",
        "localhost ******** ******** ******** database:",
    );
    let environment = "export DB_PASSWORD=\"changeme\"\nAPP_ENV=production\nDSN=mysql://u:s3cr3t@db/x\n";
    check(&[environment], "production changeme s3cr3t", "production ******** ********");
    check(&["{\"in\": \"{\\\"token\\\": \\\"abcdefg\\\"}\"}"], "abcdefg", MASK);
}

#[test]
fn a_line_is_held_back_only_while_it_may_be_the_beginning_of_a_secret() {
    let mut splitter = Splitter::new(redactor(&["correct horse battery"]));
    let mut push = |text: &str| {
        let mut given = String::new();
        let mut emit = |piece: OutputPiece<'_>| {
            given.push_str(std::str::from_utf8(piece.bytes).unwrap());
            Ok::<_, ()>(())
        };
        splitter.push(text.as_bytes(), &mut emit).unwrap();
        given
    };
    assert_eq!(push("it is corr\n"), "it is corr\n");
    assert_eq!(push("it is correct ho\n"), "it is ");
    assert_eq!(push("use\n"), "correct ho\nuse\n");
    assert_eq!(push("it is correct ho\n"), "it is ");
    assert_eq!(push("rse battery\n"), "********\n********\n");
    // The beginning was given out; the rest is masked all the same.
    assert_eq!(push("corr\n"), "corr\n");
    assert_eq!(push("ect horse battery\n"), "********\n");
}

mod forms;
