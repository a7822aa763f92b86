//! The document by which a kubectl of before 1.26 finds out whether the server knows dry runs: OpenAPI v2 as a protocol buffer,
//! with the field numbers of <https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto>.

use super::discovery::RESOURCES;

pub(crate) const CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A path for each kind, whose PATCH has a parameter `dryRun`.
pub(crate) fn document() -> Vec<u8> {
    let paths: Vec<u8> = RESOURCES
        .iter()
        .flat_map(|resource| {
            let kind = format!("group: {:?}\nkind: {}\nversion: v1\n", resource.group, resource.kind);
            let any = field(2, kind.as_bytes());
            let extension = [field(1, b"x-kubernetes-group-version-kind"), field(2, &any)].concat();
            // ParametersItem > Parameter > NonBodyParameter > QueryParameterSubSchema > name
            let query = [field(2, b"query"), field(4, b"dryRun")].concat();
            let parameter = field(1, &field(2, &field(3, &query)));
            let operation = [field(8, &parameter), field(13, &extension)].concat();
            let item = field(8, &operation);
            field(2, &[field(1, format!("/{}", resource.plural).as_bytes()), field(2, &item)].concat())
        })
        .collect();
    [field(1, b"2.0"), field(8, &paths)].concat()
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend_from_slice(content);
    bytes
}
