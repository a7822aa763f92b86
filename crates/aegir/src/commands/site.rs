//! `aegir catalog`, `aegir nodes`, `aegir sign-in` and `aegir completions`.

use std::process::ExitCode;

use aegir_protocol::api::{CatalogList, NodeList, SignInLink};
use aegir_service::exit::Exit;
use clap::CommandFactory;
use serde_json::json;

use super::Context;
use crate::address::Address;
use crate::arguments::{Arguments, Catalog};
use crate::client::ANSWER_TIMEOUT;
use crate::error::Error;
use crate::render::catalog;
use crate::terminal::{print, print_json, print_text};

pub(super) async fn catalog(context: &Context, arguments: &Catalog) -> Result<ExitCode, Error> {
    let list: CatalogList = context.client.get("/api/v1/catalog").await?;
    if context.json {
        print_json(&list)?;
        return Ok(Exit::Success.into());
    }
    let text = match &arguments.role {
        None => catalog::catalogs(&context.look, &list.catalogs),
        Some(role) => catalog::role(&context.look, &list.catalogs, role).ok_or_else(|| {
            Error::Usage(format!("no backend has a role {role:?}: `aegir catalog` lists what there is"))
        })?,
    };
    print_text(&text)?;
    Ok(Exit::Success.into())
}

pub(super) async fn nodes(context: &Context) -> Result<ExitCode, Error> {
    let list: NodeList = context.client.get("/api/v1/nodes").await?;
    if context.json {
        print_json(&list)?;
    } else {
        print_text(&catalog::nodes(&context.look, &list.nodes))?;
    }
    Ok(Exit::Success.into())
}

pub(super) async fn sign_in(context: &Context) -> Result<ExitCode, Error> {
    let link: SignInLink = context.client.post("/api/v1/sign-in-links", &json!({}), ANSWER_TIMEOUT).await?;
    if context.json {
        print_json(&link)?;
        return Ok(Exit::Success.into());
    }
    let url = match context.client.address() {
        address @ Address::Http(_) => address.url(&link.path),
        Address::Unix(_) => {
            eprintln!("Put the address of relayd's page before this path: a socket has none.");
            link.path.clone()
        }
    };
    print_text(&format!("{url}\n"))?;
    if context.look.terminal {
        eprintln!("Works once, until {}.", context.look.time(link.expires_at));
    }
    Ok(Exit::Success.into())
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "aegir", &mut script);
    print(&script)?;
    Ok(Exit::Success.into())
}
