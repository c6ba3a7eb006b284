//! Reads Ethereum's state tests.
//!
//! Two shapes of `transaction` are understood: the official one, an object whose `data`,
//! `gasLimit`, `value` and `accessLists` are tables that each entry of `post` indexes; and a list of
//! whole transactions that are run one after the other, on every fork, without an expectation.
//! The sender stands in `sender`: it is not derived from a secret key.

use revm::db::CacheState;
use revm::primitives::{
    AccountInfo, Address, B256, BlockEnv, Bytecode, Bytes, HashMap, SpecId, TxEnv, TxKind, U256,
    calc_excess_blob_gas, hex, keccak256,
};
use revmc_jit::evm::revm;
use serde_json::Value;

/// The forks of the tests, by the name they have there.
pub const FORKS: [(&str, SpecId); 12] = [
    ("Frontier", SpecId::FRONTIER),
    ("Homestead", SpecId::HOMESTEAD),
    ("EIP150", SpecId::TANGERINE),
    ("EIP158", SpecId::SPURIOUS_DRAGON),
    ("Byzantium", SpecId::BYZANTIUM),
    ("ConstantinopleFix", SpecId::PETERSBURG),
    ("Istanbul", SpecId::ISTANBUL),
    ("Berlin", SpecId::BERLIN),
    ("London", SpecId::LONDON),
    ("Paris", SpecId::MERGE),
    ("Shanghai", SpecId::SHANGHAI),
    ("Cancun", SpecId::CANCUN),
];

/// One test of a file.
pub struct Fixture {
    pub name: String,
    pub pre: CacheState,
    pub cases: Vec<Case>,
    /// Entries of `post` for forks that revm 10 does not have.
    pub skipped: usize,
    block: BlockEnv,
}

/// One way to run a test.
pub struct Case {
    pub fork: &'static str,
    pub spec_id: SpecId,
    /// Where in `post` of the fork it stands.
    pub index: usize,
    /// `Err`: the transaction breaks a rule that [`TxEnv`] cannot express.
    pub transactions: Vec<Result<TxEnv, String>>,
    pub expected: Option<Expected>,
}

/// What an entry of `post` says.
pub enum Expected {
    /// The transaction is refused.
    Refused,
    /// The hashes of the state and, where given, of the logs afterwards.
    Hashes { root: B256, logs: Option<B256> },
}

impl Fixture {
    /// The block that the transactions are in.
    pub fn block(&self, spec_id: SpecId) -> BlockEnv {
        let mut block = self.block.clone();
        if !spec_id.is_enabled_in(SpecId::MERGE) {
            block.prevrandao = None;
        }
        block
    }
}

/// Every test in a file's text.
pub fn parse(text: &str) -> Result<Vec<Fixture>, String> {
    let file: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let tests = file.as_object().ok_or("not an object of tests")?;
    tests
        .iter()
        .map(|(name, test)| fixture(name, test).map_err(|e| format!("{name}: {e}")))
        .collect()
}

fn fixture(name: &str, test: &Value) -> Result<Fixture, String> {
    let mut skipped = 0;
    let mut cases = Vec::new();
    if let Some(list) = test["transaction"].as_array() {
        let transactions: Vec<_> = list
            .iter()
            .map(|tx| {
                transaction(
                    tx,
                    [&tx["data"], &tx["gasLimit"], &tx["value"]],
                    &tx["accessList"],
                )
            })
            .collect::<Result<_, _>>()?;
        for (fork, spec_id) in FORKS {
            cases.push(Case {
                fork,
                spec_id,
                index: 0,
                transactions: transactions.iter().map(|t| t.clone().on(spec_id)).collect(),
                expected: None,
            });
        }
    } else {
        let post = test["post"]
            .as_object()
            .ok_or("neither post nor a list of transactions")?;
        for (fork, entries) in post {
            let entries = entries.as_array().ok_or("post of a fork is no list")?;
            // The merge had another name in older files.
            let name = if fork == "Merge" { "Paris" } else { fork };
            let Some((fork, spec_id)) = FORKS.into_iter().find(|(known, _)| *known == name) else {
                skipped += entries.len();
                continue;
            };
            for (index, entry) in entries.iter().enumerate() {
                cases.push(Case {
                    fork,
                    spec_id,
                    index,
                    transactions: vec![indexed(&test["transaction"], entry)?.on(spec_id)],
                    expected: expected(entry)?,
                });
            }
        }
    }
    Ok(Fixture {
        name: name.to_owned(),
        pre: pre(&test["pre"])?,
        cases,
        skipped,
        block: block(&test["env"])?,
    })
}

fn block(env: &Value) -> Result<BlockEnv, String> {
    let mut block = BlockEnv {
        number: number(env, "currentNumber")?.ok_or("no currentNumber")?,
        coinbase: address(&env["currentCoinbase"])?.ok_or("no currentCoinbase")?,
        timestamp: number(env, "currentTimestamp")?.ok_or("no currentTimestamp")?,
        gas_limit: number(env, "currentGasLimit")?.ok_or("no currentGasLimit")?,
        basefee: number(env, "currentBaseFee")?.unwrap_or_default(),
        difficulty: number(env, "currentDifficulty")?.unwrap_or_default(),
        prevrandao: Some(number(env, "currentRandom")?.unwrap_or_default().into()),
        ..BlockEnv::default()
    };
    let excess = match (
        small(env, "parentBlobGasUsed")?,
        small(env, "parentExcessBlobGas")?,
    ) {
        (Some(used), Some(excess)) => calc_excess_blob_gas(excess, used),
        _ => small(env, "currentExcessBlobGas")?.unwrap_or(0),
    };
    block.set_blob_excess_gas_and_price(excess);
    Ok(block)
}

fn pre(accounts: &Value) -> Result<CacheState, String> {
    let mut state = CacheState::new(false);
    for (at, account) in accounts.as_object().ok_or("no pre-state")? {
        let code = bytes(&account["code"])?;
        let info = AccountInfo {
            balance: number(account, "balance")?.unwrap_or_default(),
            nonce: small(account, "nonce")?.unwrap_or(0),
            code_hash: keccak256(&code),
            code: Some(Bytecode::new_raw(code)),
        };
        let mut storage = HashMap::<U256, U256>::default();
        for (key, value) in account["storage"].as_object().into_iter().flatten() {
            storage.insert(word(key)?, word(text(value, "storage")?)?);
        }
        let at = parse_address(at)?;
        state.insert_account_with_storage(at, info, storage);
    }
    Ok(state)
}

fn expected(entry: &Value) -> Result<Option<Expected>, String> {
    if entry["expectException"].is_string() {
        return Ok(Some(Expected::Refused));
    }
    // Absent before `--fill`.
    let Some(root) = number(entry, "hash")? else {
        return Ok(None);
    };
    let logs = number(entry, "logs")?.map(B256::from);
    Ok(Some(Expected::Hashes {
        root: root.into(),
        logs,
    }))
}

/// A transaction, and the fork that its type came with.
#[derive(Clone)]
struct Transaction {
    env: Result<TxEnv, String>,
    since: SpecId,
}

impl Transaction {
    fn on(self, spec_id: SpecId) -> Result<TxEnv, String> {
        if !spec_id.is_enabled_in(self.since) {
            return Err("a transaction type of a later fork".to_owned());
        }
        self.env
    }
}

fn indexed(tables: &Value, entry: &Value) -> Result<Transaction, String> {
    let at = |table: &str, index: &str| {
        let index = entry["indexes"][index].as_u64().ok_or("no indexes")?;
        tables[table]
            .get(index as usize)
            .ok_or_else(|| format!("{table} has no entry {index}"))
    };
    let list = match &tables["accessLists"] {
        Value::Null => &Value::Null,
        _ => at("accessLists", "data")?,
    };
    transaction(
        tables,
        [
            at("data", "data")?,
            at("gasLimit", "gas")?,
            at("value", "value")?,
        ],
        list,
    )
}

fn transaction(
    tx: &Value,
    [data, gas_limit, value]: [&Value; 3],
    access_list: &Value,
) -> Result<Transaction, String> {
    let max_fee_per_blob_gas = number(tx, "maxFeePerBlobGas")?;
    let max_fee = number(tx, "maxFeePerGas")?;
    let since = if max_fee_per_blob_gas.is_some() || tx["blobVersionedHashes"].is_array() {
        SpecId::CANCUN
    } else if max_fee.is_some() {
        SpecId::LONDON
    } else if access_list.is_array() {
        SpecId::BERLIN
    } else {
        SpecId::FRONTIER
    };
    let blob_hashes = tx["blobVersionedHashes"].as_array().into_iter().flatten();
    let env = TxEnv {
        caller: address(&tx["sender"])?.ok_or("no sender")?,
        gas_price: number(tx, "gasPrice")?.or(max_fee).unwrap_or_default(),
        transact_to: match address(&tx["to"])? {
            Some(to) => TxKind::Call(to),
            None => TxKind::Create,
        },
        data: bytes(data)?,
        nonce: small(tx, "nonce")?,
        access_list: access_list
            .as_array()
            .into_iter()
            .flatten()
            .map(access)
            .collect::<Result<_, _>>()?,
        gas_priority_fee: number(tx, "maxPriorityFeePerGas")?,
        blob_hashes: blob_hashes
            .map(|hash| Ok(word(text(hash, "blobVersionedHashes")?)?.into()))
            .collect::<Result<_, String>>()?,
        max_fee_per_blob_gas,
        ..TxEnv::default()
    };
    // The official tests have amounts that no transaction can carry.
    let amounts = (|| {
        let gas_limit = word(text(gas_limit, "gasLimit")?)?;
        let gas_limit = u64::try_from(gas_limit).map_err(|_| "gasLimit above 2^64")?;
        Ok((gas_limit, word(text(value, "value")?)?))
    })();
    Ok(Transaction {
        env: amounts.map(|(gas_limit, value)| TxEnv {
            gas_limit,
            value,
            ..env
        }),
        since,
    })
}

fn access(entry: &Value) -> Result<(Address, Vec<U256>), String> {
    let keys = entry["storageKeys"].as_array().ok_or("no storageKeys")?;
    let keys = keys.iter().map(|key| word(text(key, "storageKeys")?));
    let at = address(&entry["address"])?.ok_or("no address")?;
    Ok((at, keys.collect::<Result<_, _>>()?))
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{what} is no text"))
}

fn number(object: &Value, field: &str) -> Result<Option<U256>, String> {
    match &object[field] {
        Value::Null => Ok(None),
        value => word(text(value, field)?)
            .map(Some)
            .map_err(|e| format!("{field}: {e}")),
    }
}

fn small(object: &Value, field: &str) -> Result<Option<u64>, String> {
    let number = number(object, field)?.map(u64::try_from).transpose();
    number.map_err(|_| format!("{field} above 2^64"))
}

/// Hexadecimal behind `0x`; decimal, or a bare hash, without.
fn word(text: &str) -> Result<U256, String> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, if text.len() == 64 { 16 } else { 10 }),
    };
    U256::from_str_radix(digits, radix).map_err(|e| format!("{text}: {e}"))
}

fn bytes(value: &Value) -> Result<Bytes, String> {
    let text = text(value, "data or code")?;
    hex::decode(text)
        .map(Bytes::from)
        .map_err(|e| format!("{text}: {e}"))
}

/// Empty or absent is `None`.
fn address(value: &Value) -> Result<Option<Address>, String> {
    match value {
        Value::Null => Ok(None),
        value => match text(value, "an address")? {
            "" => Ok(None),
            text => parse_address(text).map(Some),
        },
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|e| format!("address {text}: {e}"))
}
