//! Asks for tokens as any Rust program with the Azure SDK does; see ../../go/main.go for what it prints.
//!
//!     client managed SCOPE [--count N] [--client-id ID]
//!
//! There is no `default`: the chain of this SDK, DeveloperToolsCredential, has no managed identity in it.

use std::{env, error::Error, process::ExitCode, time::Instant};

use azure_core::credentials::{AccessToken, TokenCredential};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use serde_json::json;

const USAGE: &str = "usage: client managed SCOPE [--count N] [--client-id ID]";

/// What the command line asks for.
struct Order {
    scope: String,
    count: usize,
    client_id: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(order) = parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    for _ in 0..order.count {
        let begin = Instant::now();
        match get(&order).await {
            Ok(token) => {
                let ms = begin.elapsed().as_micros() as f64 / 1000.0;
                let expires_on = token.expires_on.unix_timestamp();
                println!(
                    "{}",
                    json!({"token": token.token.secret(), "expires_on": expires_on, "ms": ms})
                );
            }
            Err(err) => {
                println!(
                    "{}",
                    json!({"error": chain(&err), "type": err.kind().to_string()})
                );
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Order> {
    if args.next()? != "managed" {
        return None;
    }
    let mut order = Order {
        scope: args.next()?,
        count: 1,
        client_id: None,
    };
    while let Some(flag) = args.next() {
        let value = args.next()?;
        match flag.as_str() {
            "--count" => order.count = value.parse().ok().filter(|n| *n > 0)?,
            "--client-id" => order.client_id = Some(value),
            _ => return None,
        }
    }
    Some(order)
}

/// Gets a token through a new credential: its cache is its own.
async fn get(order: &Order) -> azure_core::Result<AccessToken> {
    let credential = ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: order.client_id.clone().map(UserAssignedId::ClientId),
        ..Default::default()
    }))?;
    credential.get_token(&[&order.scope], None).await
}

/// An error with its causes, as a program prints them.
fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}
