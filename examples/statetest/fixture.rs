//! Reads Ethereum's state tests.
//!
//! Of the newest forks, those that a test has nothing for are added without an expectation: the
//! entries of its newest fork under their rules.
//!
//! Two shapes of `transaction` are understood: the official one, an object whose `data`,
//! `gasLimit`, `value` and `accessLists` are tables that each entry of `post` indexes; and a list of
//! whole transactions that are run one after the other, on every fork, without an expectation.
//! The sender stands in `sender`: it is not derived from a secret key.

use crate::roots::{self, Digest, Roots};
use revm::bytecode::Bytecode;
use revm::context::{BlockEnv, TxEnv, transaction::AccessList};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::either::Either;
use revm::context_interface::transaction::{AccessListItem, Authorization, SignedAuthorization};
use revm::database::CacheState;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, B256, Bytes, StorageKeyMap, TxKind, U256, hex, keccak256};
use revm::state::AccountInfo;
use serde_json::Value;

/// The forks of the tests, by the name they have there.
pub const FORKS: [(&str, SpecId); 15] = [
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
    ("Prague", SpecId::PRAGUE),
    ("Osaka", SpecId::OSAKA),
    ("Amsterdam", SpecId::AMSTERDAM),
];

/// Where in [`FORKS`] those begin that every test is run on.
const NEWEST: usize = 12;

/// Blob gas of a block that leaves the price as it is: three blobs, since Prague six (EIP-7691).
const TARGET_BLOB_GAS: [u64; 2] = [3 << 17, 6 << 17];

/// One test of a file.
pub struct Fixture {
    pub name: String,
    pub pre: CacheState,
    pub cases: Vec<Case>,
    /// Entries of `post` for forks that revm does not have.
    pub skipped: usize,
    block: BlockEnv,
    excess_blob_gas: ExcessBlobGas,
}

/// One way to run a test.
pub struct Case {
    pub fork: &'static str,
    pub spec_id: SpecId,
    /// Where in `post` of the fork it stands.
    pub index: usize,
    /// Whether the file has this entry under another fork.
    pub added: bool,
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
    /// The digest of both, from a table.
    Digest(Digest),
}

impl Fixture {
    /// The block that the transactions are in.
    pub fn block(&self, case: &Case) -> BlockEnv {
        let spec_id = case.spec_id;
        let mut block = self.block.clone();
        if !spec_id.is_enabled_in(SpecId::MERGE) {
            block.prevrandao = None;
        }
        if !spec_id.is_enabled_in(SpecId::LONDON) {
            block.basefee = 0;
        }
        if case.added {
            // A test from before London may offer less than its block asks for since.
            let transactions = case.transactions.iter().flatten();
            let least = transactions.map(|transaction| transaction.gas_price).min();
            block.basefee = block.basefee.min(
                least
                    .and_then(|least| least.try_into().ok())
                    .unwrap_or(u64::MAX),
            );
        }
        let excess = match self.excess_blob_gas {
            ExcessBlobGas::Is(excess) => excess,
            ExcessBlobGas::After(before) => {
                let target = TARGET_BLOB_GAS[usize::from(spec_id.is_enabled_in(SpecId::PRAGUE))];
                before.saturating_sub(target)
            }
        };
        let price = BlobExcessGasAndPrice::new_with_spec(excess, spec_id);
        block.blob_excess_gas_and_price = spec_id.is_enabled_in(SpecId::CANCUN).then_some(price);
        block
    }
}

/// What the price of blobs follows from.
enum ExcessBlobGas {
    Is(u64),
    /// What the parent block had, and used.
    After(u64),
}

/// Every test in a file's text; what it does not say of an entry, `roots` may.
pub fn parse(text: &str, roots: &Roots) -> Result<Vec<Fixture>, String> {
    let file: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let tests = file.as_object().ok_or("not an object of tests")?;
    tests
        .iter()
        .map(|(name, test)| fixture(name, test, roots).map_err(|e| format!("{name}: {e}")))
        .collect()
}

fn fixture(name: &str, test: &Value, roots: &Roots) -> Result<Fixture, String> {
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
                added: false,
                transactions: transactions.iter().map(|t| t.clone().on(spec_id)).collect(),
                expected: None,
            });
        }
    } else {
        let mut found = Vec::new();
        for (fork, entries) in test["post"]
            .as_object()
            .ok_or("neither post nor a list of transactions")?
        {
            let entries = entries.as_array().ok_or("post of a fork is no list")?;
            // The merge had another name in older files.
            let name = if fork == "Merge" { "Paris" } else { fork };
            match FORKS.iter().position(|(known, _)| *known == name) {
                Some(fork) => found.push((fork, entries, false)),
                None => skipped += entries.len(),
            }
        }
        if let Some(&(_, entries, _)) = found.iter().max_by_key(|(fork, ..)| *fork) {
            for fork in NEWEST..FORKS.len() {
                if !found.iter().any(|(other, ..)| *other == fork) {
                    found.push((fork, entries, true));
                }
            }
        }
        let known = roots.of(test);
        for (number, entries, added) in found {
            let (fork, spec_id) = FORKS[number];
            for (index, entry) in entries.iter().enumerate() {
                cases.push(Case {
                    fork,
                    spec_id,
                    index,
                    added,
                    transactions: vec![indexed(&test["transaction"], entry)?.on(spec_id)],
                    expected: match added {
                        true => None,
                        false => {
                            expected(entry)?.or_else(|| roots::expected(known?, index, number))
                        }
                    },
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
        excess_blob_gas: excess_blob_gas(&test["env"])?,
    })
}

fn block(env: &Value) -> Result<BlockEnv, String> {
    Ok(BlockEnv {
        number: number(env, "currentNumber")?.ok_or("no currentNumber")?,
        beneficiary: address(&env["currentCoinbase"])?.ok_or("no currentCoinbase")?,
        timestamp: number(env, "currentTimestamp")?.ok_or("no currentTimestamp")?,
        // Some official tests have more than a header can hold.
        gas_limit: number(env, "currentGasLimit")?
            .ok_or("no currentGasLimit")?
            .saturating_to(),
        basefee: small(env, "currentBaseFee")?.unwrap_or_default(),
        difficulty: number(env, "currentDifficulty")?.unwrap_or_default(),
        prevrandao: Some(number(env, "currentRandom")?.unwrap_or_default().into()),
        ..BlockEnv::default()
    })
}

fn excess_blob_gas(env: &Value) -> Result<ExcessBlobGas, String> {
    let parent = (
        small(env, "parentBlobGasUsed")?,
        small(env, "parentExcessBlobGas")?,
    );
    Ok(match parent {
        (Some(used), Some(excess)) => ExcessBlobGas::After(excess.saturating_add(used)),
        _ => ExcessBlobGas::Is(small(env, "currentExcessBlobGas")?.unwrap_or(0)),
    })
}

fn pre(accounts: &Value) -> Result<CacheState, String> {
    let mut state = CacheState::new();
    for (at, account) in accounts.as_object().ok_or("no pre-state")? {
        let code = bytes(&account["code"])?;
        let info = AccountInfo {
            balance: number(account, "balance")?.unwrap_or_default(),
            nonce: small(account, "nonce")?.unwrap_or(0),
            code_hash: keccak256(&code),
            code: Some(Bytecode::new_raw_checked(code).map_err(|error| error.to_string())?),
            ..AccountInfo::default()
        };
        let mut storage = StorageKeyMap::<U256>::default();
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
    let max_fee = &tx["maxFeePerGas"];
    let (tx_type, since) = if tx["authorizationList"].is_array() {
        (4, SpecId::PRAGUE)
    } else if !tx["maxFeePerBlobGas"].is_null() || tx["blobVersionedHashes"].is_array() {
        (3, SpecId::CANCUN)
    } else if !max_fee.is_null() {
        (2, SpecId::LONDON)
    } else if access_list.is_array() {
        (1, SpecId::BERLIN)
    } else {
        (0, SpecId::FRONTIER)
    };
    let each = |field: &str| tx[field].as_array().into_iter().flatten();
    let env = TxEnv {
        tx_type,
        caller: address(&tx["sender"])?.ok_or("no sender")?,
        kind: match address(&tx["to"])? {
            Some(to) => TxKind::Call(to),
            None => TxKind::Create,
        },
        data: bytes(data)?,
        nonce: small(tx, "nonce")?.unwrap_or(0),
        chain_id: (tx_type != 0).then_some(1),
        access_list: AccessList(
            access_list
                .as_array()
                .into_iter()
                .flatten()
                .map(access)
                .collect::<Result<_, _>>()?,
        ),
        blob_hashes: each("blobVersionedHashes")
            .map(|hash| Ok(word(text(hash, "blobVersionedHashes")?)?.into()))
            .collect::<Result<_, String>>()?,
        authorization_list: each("authorizationList")
            .map(|entry| authorization(entry).map(Either::Left))
            .collect::<Result<_, _>>()?,
        ..TxEnv::default()
    };
    // The official tests have amounts that no transaction can carry.
    let amounts = (|| {
        let fee = |field| match number(tx, field)?.map(u128::try_from) {
            Some(Err(_)) => Err(format!("{field} above 2^128")),
            fee => Ok(fee.map(|fee| fee.unwrap_or_default())),
        };
        let gas_limit = word(text(gas_limit, "gasLimit")?)?;
        Ok(TxEnv {
            gas_limit: u64::try_from(gas_limit).map_err(|_| "gasLimit above 2^64")?,
            gas_price: fee("gasPrice")?.or(fee("maxFeePerGas")?).unwrap_or(0),
            gas_priority_fee: fee("maxPriorityFeePerGas")?,
            max_fee_per_blob_gas: fee("maxFeePerBlobGas")?.unwrap_or(0),
            value: word(text(value, "value")?)?,
            ..env
        })
    })();
    Ok(Transaction {
        env: amounts,
        since,
    })
}

fn authorization(entry: &Value) -> Result<SignedAuthorization, String> {
    let field = |name: &str| number(entry, name)?.ok_or_else(|| format!("no {name}"));
    let inner = Authorization {
        chain_id: field("chainId")?,
        address: address(&entry["address"])?.ok_or("no address")?,
        nonce: small(entry, "nonce")?.ok_or("no nonce")?,
    };
    let parity = match small(entry, "yParity")? {
        Some(parity) => parity,
        None => small(entry, "v")?.ok_or("no v")?,
    };
    let parity = u8::try_from(parity).map_err(|_| "a parity above 2^8")?;
    let (r, s) = (field("r")?, field("s")?);
    Ok(SignedAuthorization::new_unchecked(inner, parity, r, s))
}

fn access(entry: &Value) -> Result<AccessListItem, String> {
    let keys = entry["storageKeys"].as_array().ok_or("no storageKeys")?;
    let keys = keys
        .iter()
        .map(|key| word(text(key, "storageKeys")?).map(B256::from));
    Ok(AccessListItem {
        address: address(&entry["address"])?.ok_or("no address")?,
        storage_keys: keys.collect::<Result<_, _>>()?,
    })
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
