//! A block and the state before it, from a folder.

use super::{
    chain::Network,
    json::{address, bytes, fields, hash, list, optional, parse, required, small, word},
};
use alloy_evm::eth::dao_fork::{
    DAO_HARDFORK_ACCOUNTS as DRAINED, DAO_HARDFORK_BENEFICIARY as REFUND,
};
use alloy_primitives::Bloom;
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv, transaction::AccessList},
    context_interface::{
        block::BlobExcessGasAndPrice,
        either::Either,
        transaction::{AccessListItem, Authorization, SignedAuthorization},
    },
    database::InMemoryDB,
    primitives::{Address, B256, TxKind, U256, hardfork::SpecId, keccak256},
    state::AccountInfo,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// The folder of the blocks that come with the crate.
pub const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/blocks/mainnet");

/// The type of a deposit of an Optimism chain: not the EVM's to check or to charge.
const DEPOSIT: u8 = 0x7e;

/// A folder of blocks.
pub struct Folder {
    /// Sorted by number.
    pub files: Vec<PathBuf>,
    /// The contracts, by code hash.
    pub codes: HashMap<B256, Bytecode>,
}

/// The blocks that come with the crate.
pub fn own() -> Vec<Block> {
    let folder = Folder::open(Path::new(OWN)).expect("a folder of blocks");
    let files = folder.files.iter();
    files
        .map(|file| folder.read(file).expect("a block"))
        .collect()
}

/// What a header says.
#[derive(Clone, Debug)]
pub struct Header {
    pub number: u64,
    pub timestamp: u64,
    pub miner: Address,
    pub difficulty: U256,
    pub mix_hash: B256,
    pub gas_limit: u64,
    pub base_fee: Option<u64>,
    pub excess_blob_gas: Option<u64>,
    pub parent_hash: B256,
    pub parent_beacon_root: Option<B256>,
    pub gas_used: u64,
    pub logs_bloom: Bloom,
    pub receipts_root: B256,
}

/// A block, ready to be run.
#[derive(Clone)]
pub struct Block {
    pub header: Header,
    pub network: Network,
    pub chain_id: u64,
    /// The rules that it follows.
    pub spec: SpecId,
    pub transactions: Vec<TxEnv>,
    /// How many transactions of the block are not in `transactions`, as they are not the EVM's.
    pub left_out: usize,
    /// The state before it, with the hashes of earlier blocks.
    pub state: InMemoryDB,
}

impl Folder {
    /// Reads the contracts and the names of the blocks.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let at = |path: &Path, error: String| format!("{}: {error}", path.display());
        let path = folder.join("codes.json");
        let text = fs::read_to_string(&path).map_err(|error| at(&path, error.to_string()))?;
        let codes = codes(&text).map_err(|error| at(&path, error))?;

        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| at(folder, error.to_string()))? {
            let file = entry.map_err(|error| at(folder, error.to_string()))?.path();
            let number = file
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if let (Some(number), Some("json")) = (
                number,
                file.extension().and_then(|extension| extension.to_str()),
            ) {
                files.push((number, file));
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(at(folder, "no block".to_owned()));
        }
        let files = files.into_iter().map(|(_, file)| file).collect();
        Ok(Self { files, codes })
    }

    /// Reads a block.
    pub fn read(&self, file: &Path) -> Result<Block, String> {
        let read = || {
            let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
            let json: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            self.block(&json)
        };
        read().map_err(|error| format!("{}: {error}", file.display()))
    }

    fn block(&self, json: &Value) -> Result<Block, String> {
        let header = header(&json["header"]).map_err(|error| format!("header: {error}"))?;
        let all = list(json, "transactions")?;
        let types = all
            .iter()
            .map(|tx| Ok(optional(tx, "type", small)?.unwrap_or(0)));
        let types: Vec<u8> = types.collect::<Result<_, String>>()?;
        let network = match types.contains(&DEPOSIT) {
            true => Network::Optimism,
            false => Network::Mainnet,
        };
        let chain_id = optional(json, "chainId", small)?.unwrap_or(1);
        let transactions = all
            .iter()
            .zip(types)
            .enumerate()
            .filter(|(_, (_, tx_type))| *tx_type != DEPOSIT)
            .map(|(at, (tx, tx_type))| {
                transaction(tx, tx_type, chain_id)
                    .map_err(|error| format!("transaction {at}: {error}"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut state = self.state(json)?;
        if network.is_dao_fork(header.number) {
            move_dao(&mut state);
        }
        Ok(Block {
            spec: network.fork(header.number, header.timestamp),
            left_out: all.len() - transactions.len(),
            header,
            network,
            chain_id,
            transactions,
            state,
        })
    }

    fn state(&self, json: &Value) -> Result<InMemoryDB, String> {
        let mut state = InMemoryDB::default();
        for (at, account) in fields(json, "preState")? {
            self.account(&mut state, address(at)?, account)
                .map_err(|error| format!("preState of {at}: {error}"))?;
        }
        for (number, earlier) in fields(json, "blockHashes")? {
            let number = match number.strip_prefix("0x") {
                Some(_) => word(number)?,
                None => parse(number)?,
            };
            let earlier = earlier.as_str().ok_or("a block hash is no text")?;
            state.cache.block_hashes.insert(number, hash(earlier)?);
        }
        Ok(state)
    }

    fn account(&self, state: &mut InMemoryDB, at: Address, json: &Value) -> Result<(), String> {
        let mut info = AccountInfo {
            balance: optional(json, "balance", word)?.unwrap_or_default(),
            nonce: optional(json, "nonce", small)?.unwrap_or_default(),
            ..AccountInfo::default()
        };
        if let Some(code_hash) = optional(json, "codeHash", hash)? {
            info.code_hash = code_hash;
            if !info.is_empty_code_hash() {
                let code = self.codes.get(&code_hash);
                info.code = Some(code.ok_or_else(|| format!("no code {code_hash}"))?.clone());
            }
        }
        state.insert_account_info(at, info);
        for (slot, value) in fields(json, "storage")? {
            let value = value.as_str().ok_or("a value is no text")?;
            state
                .insert_account_storage(at, word(slot)?, word(value)?)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Block {
    /// What instructions see of it.
    pub fn env(&self) -> BlockEnv {
        let header = &self.header;
        let merged = self.spec.is_enabled_in(SpecId::MERGE);
        let price = |excess| {
            BlobExcessGasAndPrice::new(excess, self.network.blob_fraction(header.timestamp))
        };
        BlockEnv {
            number: U256::from(header.number),
            beneficiary: header.miner,
            timestamp: U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee.unwrap_or(0),
            difficulty: header.difficulty,
            prevrandao: merged.then_some(header.mix_hash),
            blob_excess_gas_and_price: header.excess_blob_gas.map(price),
            ..BlockEnv::default()
        }
    }
}

/// The contracts of a `codes.json`; each has to have the hash that it stands under.
fn codes(text: &str) -> Result<HashMap<B256, Bytecode>, String> {
    let codes: HashMap<String, String> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let read = |(at, code): (&String, &String)| {
        let (at, code) = (hash(at)?, bytes(code)?);
        if keccak256(&code) != at {
            return Err(format!("{at} is not the hash of its code"));
        }
        let code = Bytecode::new_raw_checked(code).map_err(|error| format!("{at}: {error}"))?;
        Ok((at, code))
    };
    codes.iter().map(read).collect()
}

fn header(json: &Value) -> Result<Header, String> {
    Ok(Header {
        number: required(json, "number", small)?,
        timestamp: required(json, "timestamp", small)?,
        miner: required(json, "miner", address)?,
        difficulty: optional(json, "difficulty", word)?.unwrap_or_default(),
        mix_hash: optional(json, "mixHash", hash)?.unwrap_or_default(),
        gas_limit: required(json, "gasLimit", small)?,
        base_fee: optional(json, "baseFeePerGas", small)?,
        excess_blob_gas: optional(json, "excessBlobGas", small)?,
        parent_hash: optional(json, "parentHash", hash)?.unwrap_or_default(),
        parent_beacon_root: optional(json, "parentBeaconBlockRoot", hash)?,
        gas_used: required(json, "gasUsed", small)?,
        logs_bloom: required(json, "logsBloom", parse)?,
        receipts_root: required(json, "receiptsRoot", hash)?,
    })
}

fn transaction(json: &Value, tx_type: u8, chain_id: u64) -> Result<TxEnv, String> {
    if tx_type > 4 {
        return Err(format!("type {tx_type:#x}"));
    }
    let (gas_price, gas_priority_fee) = match tx_type {
        0 | 1 => (required(json, "gasPrice", small)?, None),
        _ => (
            required(json, "maxFeePerGas", small)?,
            Some(required(json, "maxPriorityFeePerGas", small)?),
        ),
    };
    let blob_hashes = list(json, "blobVersionedHashes")?.iter();
    Ok(TxEnv {
        tx_type,
        caller: required(json, "from", address)?,
        gas_limit: required(json, "gas", small)?,
        gas_price,
        kind: match optional(json, "to", address)? {
            Some(to) => TxKind::Call(to),
            None => TxKind::Create,
        },
        value: optional(json, "value", word)?.unwrap_or_default(),
        data: optional(json, "input", bytes)?.unwrap_or_default(),
        nonce: required(json, "nonce", small)?,
        chain_id: (tx_type != 0).then_some(chain_id),
        access_list: access_list(json)?,
        gas_priority_fee,
        blob_hashes: blob_hashes
            .map(|blob| hash(blob.as_str().ok_or("a blob's hash is no text")?))
            .collect::<Result<_, _>>()?,
        max_fee_per_blob_gas: optional(json, "maxFeePerBlobGas", small)?.unwrap_or(0),
        authorization_list: list(json, "authorizationList")?
            .iter()
            .map(|entry| authorization(entry).map(Either::Left))
            .collect::<Result<_, _>>()?,
    })
}

fn access_list(json: &Value) -> Result<AccessList, String> {
    let item = |entry: &Value| {
        let keys = list(entry, "storageKeys")?.iter();
        Ok(AccessListItem {
            address: required(entry, "address", address)?,
            storage_keys: keys
                .map(|key| word(key.as_str().ok_or("a storage key is no text")?).map(B256::from))
                .collect::<Result<_, String>>()?,
        })
    };
    let items: Result<Vec<_>, String> = list(json, "accessList")?.iter().map(item).collect();
    items.map(AccessList)
}

fn authorization(json: &Value) -> Result<SignedAuthorization, String> {
    let inner = Authorization {
        chain_id: required(json, "chainId", word)?,
        address: required(json, "address", address)?,
        nonce: required(json, "nonce", small)?,
    };
    let parity = match optional(json, "yParity", small)? {
        Some(parity) => parity,
        None => required(json, "v", small)?,
    };
    let (r, s) = (required(json, "r", word)?, required(json, "s", word)?);
    Ok(SignedAuthorization::new_unchecked(inner, parity, r, s))
}

/// Moves the ether of the accounts that are there.
fn move_dao(state: &mut InMemoryDB) {
    let mut moved = U256::ZERO;
    for at in DRAINED {
        if let Some(account) = state.cache.accounts.get_mut(&at) {
            moved += std::mem::take(&mut account.info.balance);
        }
    }
    if !moved.is_zero() {
        let refund = state.cache.accounts.entry(REFUND).or_default();
        let mut info = refund.info().unwrap_or_default();
        info.balance += moved;
        state.insert_account_info(REFUND, info);
    }
}
