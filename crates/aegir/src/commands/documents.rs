//! `aegir documents`.

use std::process::ExitCode;

use aegir_api::{ActionRequest, DocumentList};
use aegir_protocol::request::Accepted;
use aegir_service::exit::Exit;

use super::context::Context;
use crate::arguments::DocumentsArguments;
use crate::error::Error;
use crate::render::documents;
use crate::terminal::print_json;

pub(super) async fn documents(context: &Context, arguments: &DocumentsArguments) -> Result<ExitCode, Error> {
    let target = &arguments.target;
    let path = format!("/api/v1/targets/{}/{}/documents", target.kind, target.name);
    if let (Some(name), true) = (&arguments.name, arguments.refresh) {
        let body = ActionRequest { requested_by: arguments.requested_by.clone() };
        let path = format!("{path}/{name}/refresh");
        let accepted: Accepted = context.client.post(&path, &body).await?;
        let Accepted { id, state, .. } = &accepted;
        return context
            .show(&accepted, || format!("Operation {id} is {state}.\nWatch it with `aegir log -f {id}`.\n"));
    }
    let list: DocumentList = context.client.get(&path).await?;
    match &arguments.name {
        Some(name) => {
            let found = list.documents.iter().find(|document| document.name == *name);
            let found = found.ok_or_else(|| Error::NoSuchDocument {
                target: format!("{}:{}", target.kind, target.name),
                name: name.clone(),
            })?;
            print_json(&found.value)?;
            Ok(Exit::Success.into())
        }
        None => context.show(&list, || documents::list(&context.look, &list.documents)),
    }
}
