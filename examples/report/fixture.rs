//! Reads files in the format of Ethereum's state tests, with one list of whole transactions for
//! each test (the official tests' index tables are not understood here).

use crate::common::driver::Message;
use crate::common::world::World;
use revmc::primitives::{Address, Bytes, SpecId, U256, hex};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One test of a file: its state, and the messages of its transactions.
pub struct Fixture {
    pub name: String,
    pub world: World,
    pub messages: Vec<Message>,
}

/// The state-test files of a folder, in a fixed order, or the file itself.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    files
}

/// Every test in the file.
pub fn read(path: &Path, spec_id: SpecId) -> Result<Vec<Fixture>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&text, spec_id).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse(text: &str, spec_id: SpecId) -> Result<Vec<Fixture>, String> {
    let file: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let tests = file.as_object().ok_or("not an object of tests")?;
    tests
        .iter()
        .map(|(name, test)| fixture(name, test, spec_id))
        .collect()
}

fn fixture(name: &str, test: &Value, spec_id: SpecId) -> Result<Fixture, String> {
    let mut world = World::new(spec_id);
    let env = &test["env"];
    world.env.block.number = word(env, "currentNumber")?;
    world.env.block.timestamp = word(env, "currentTimestamp")?;
    world.env.block.gas_limit = word(env, "currentGasLimit")?;
    world.env.block.coinbase = address(env, "currentCoinbase")?;
    world.env.block.basefee = word(env, "currentBaseFee")?;
    let pre = test["pre"].as_object().ok_or("no pre-state")?;
    for (at, account) in pre {
        let at: Address = at.parse().map_err(|e| format!("address {at}: {e}"))?;
        let nonce = word(account, "nonce")?
            .try_into()
            .map_err(|_| "nonce above 2^64")?;
        world.insert(
            at,
            word(account, "balance")?,
            nonce,
            bytes(account, "code")?,
        );
        for (key, value) in account["storage"].as_object().into_iter().flatten() {
            world.insert_storage(
                at,
                parse_word(key)?,
                parse_word(value.as_str().ok_or("storage")?)?,
            );
        }
    }
    let transactions = test["transaction"]
        .as_array()
        .ok_or("no list of transactions")?;
    let messages: Result<Vec<_>, String> = transactions.iter().map(message).collect();
    let messages = messages?;
    if let (Some(first), Some(transaction)) = (messages.first(), transactions.first()) {
        world.env.tx.caller = first.caller;
        world.env.tx.gas_price = word(transaction, "gasPrice")?;
        world.env.tx.gas_priority_fee = None;
    }
    Ok(Fixture {
        name: name.to_owned(),
        world,
        messages,
    })
}

fn message(transaction: &Value) -> Result<Message, String> {
    Ok(Message {
        caller: address(transaction, "sender")?,
        to: address(transaction, "to")?,
        value: word(transaction, "value")?,
        input: bytes(transaction, "data")?,
        gas_limit: word(transaction, "gasLimit")?
            .try_into()
            .map_err(|_| "gas above 2^64")?,
        is_static: false,
    })
}

fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str, String> {
    object[field]
        .as_str()
        .ok_or_else(|| format!("{field} is no text"))
}

fn word(object: &Value, field: &str) -> Result<U256, String> {
    parse_word(text(object, field)?).map_err(|e| format!("{field}: {e}"))
}

fn parse_word(text: &str) -> Result<U256, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    U256::from_str_radix(digits, 16).map_err(|e| format!("{text}: {e}"))
}

fn address(object: &Value, field: &str) -> Result<Address, String> {
    text(object, field)?
        .parse()
        .map_err(|e| format!("{field}: {e}"))
}

fn bytes(object: &Value, field: &str) -> Result<Bytes, String> {
    hex::decode(text(object, field)?)
        .map(Bytes::from)
        .map_err(|e| format!("{field}: {e}"))
}
