//! Hexadecimal fields of JSON.

use revm::primitives::{Address, B256, Bytes, U256};
use serde_json::Value;
use std::str::FromStr;

/// The text of a field.
fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str, String> {
    object[field]
        .as_str()
        .ok_or_else(|| format!("{field} is no text"))
}

/// A number behind `0x`.
pub fn word(text: &str) -> Result<U256, String> {
    let digits = text
        .strip_prefix("0x")
        .ok_or_else(|| format!("{text}: no 0x"))?;
    U256::from_str_radix(digits, 16).map_err(|error| format!("{text}: {error}"))
}

/// Anything that reads itself: an address, a hash, bytes.
pub fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// What `read` makes of a field; `None` where it is absent or null.
pub fn optional<'a, T>(
    object: &'a Value,
    field: &str,
    read: impl FnOnce(&'a str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match &object[field] {
        Value::Null => Ok(None),
        _ => text(object, field)
            .and_then(read)
            .map(Some)
            .map_err(|error| format!("{field}: {error}")),
    }
}

/// What `read` makes of a field.
pub fn required<'a, T>(
    object: &'a Value,
    field: &str,
    read: impl FnOnce(&'a str) -> Result<T, String>,
) -> Result<T, String> {
    optional(object, field, read)?.ok_or_else(|| format!("no {field}"))
}

/// A number that fits into the type.
pub fn small<T: TryFrom<U256>>(text: &str) -> Result<T, String> {
    T::try_from(word(text)?).map_err(|_| format!("{text} is too large"))
}

/// An address.
pub fn address(text: &str) -> Result<Address, String> {
    parse(text)
}

/// A hash.
pub fn hash(text: &str) -> Result<B256, String> {
    parse(text)
}

/// Bytes.
pub fn bytes(text: &str) -> Result<Bytes, String> {
    parse(text)
}

/// The entries of a list; none where it is absent.
pub fn list<'a>(object: &'a Value, field: &str) -> Result<&'a [Value], String> {
    match &object[field] {
        Value::Null => Ok(&[]),
        Value::Array(list) => Ok(list),
        _ => Err(format!("{field} is no list")),
    }
}

/// The fields of an object; none where it is absent.
pub fn fields<'a>(
    object: &'a Value,
    field: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, String> {
    match &object[field] {
        Value::Null => Ok(None.into_iter().flatten()),
        Value::Object(fields) => Ok(Some(fields).into_iter().flatten()),
        _ => Err(format!("{field} is no object")),
    }
}
