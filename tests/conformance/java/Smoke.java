import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.watch.WatchEvent;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** jetcd against the endpoints in the arguments, HOST:PORT each: a line for what went well. */
public final class Smoke {
    private static final ByteSequence PREFIX = bytes("jetcd/");
    private static final ByteSequence KEY = bytes("jetcd/a");

    public static void main(String[] endpoints) throws Exception {
        String[] urls = new String[endpoints.length];
        for (int i = 0; i < urls.length; i++) {
            urls[i] = "http://" + endpoints[i];
        }
        try (Client client = Client.builder().endpoints(urls).build()) {
            get(client.getKVClient().delete(PREFIX, DeleteOption.builder().isPrefix(true).build()));
            keys(client);
            leases(client);
            watches(client);
            locks(client);
            elections(client);
            cluster(client);
        }
        System.exit(0);
    }

    private static ByteSequence bytes(String text) {
        return ByteSequence.from(text, StandardCharsets.UTF_8);
    }

    private static <T> T get(CompletableFuture<T> future) throws Exception {
        return future.get(60, TimeUnit.SECONDS);
    }

    private static void demand(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }

    private static void keys(Client client) throws Exception {
        var kv = client.getKVClient();
        get(kv.put(KEY, bytes("1")));
        List<KeyValue> found = get(kv.get(KEY)).getKvs();
        demand(found.get(0).getValue().equals(bytes("1")), "value");
        var committed = get(kv.txn()
            .If(new Cmp(KEY, Cmp.Op.EQUAL, CmpTarget.value(bytes("1"))))
            .Then(Op.put(KEY, bytes("2"), PutOption.DEFAULT), Op.get(KEY, GetOption.DEFAULT))
            .Else(Op.get(KEY, GetOption.DEFAULT))
            .commit());
        demand(committed.isSucceeded(), "txn");
        demand(committed.getGetResponses().get(0).getKvs().get(0).getVersion() == 2, "version");
        demand(get(kv.get(PREFIX, GetOption.builder().isPrefix(true).build())).getCount() == 1, "count");
        System.out.println("kv");
    }

    private static void leases(Client client) throws Exception {
        long id = get(client.getLeaseClient().grant(60)).getID();
        PutOption leased = PutOption.builder().withLeaseId(id).build();
        get(client.getKVClient().put(bytes("jetcd/leased"), bytes("x"), leased));
        demand(get(client.getLeaseClient().keepAliveOnce(id)).getTTL() == 60, "ttl");
        get(client.getLeaseClient().revoke(id));
        demand(get(client.getKVClient().get(bytes("jetcd/leased"))).getCount() == 0, "revoked");
        System.out.println("lease");
    }

    private static void watches(Client client) throws Exception {
        var events = new LinkedBlockingQueue<WatchEvent>();
        long revision = get(client.getKVClient().get(KEY)).getHeader().getRevision();
        WatchOption option = WatchOption.builder().withRevision(revision + 1).build();
        try (Watch.Watcher ignored = client.getWatchClient()
            .watch(bytes("jetcd/watched"), option, response -> events.addAll(response.getEvents()))) {
            get(client.getKVClient().put(bytes("jetcd/watched"), bytes("3")));
            get(client.getKVClient().delete(bytes("jetcd/watched")));
            for (var type : List.of(WatchEvent.EventType.PUT, WatchEvent.EventType.DELETE)) {
                WatchEvent event = events.poll(60, TimeUnit.SECONDS);
                demand(event != null && event.getEventType() == type, "event " + type);
            }
        }
        System.out.println("watch");
    }

    private static void locks(Client client) throws Exception {
        long id = get(client.getLeaseClient().grant(60)).getID();
        ByteSequence key = get(client.getLockClient().lock(bytes("jetcd/lock"), id)).getKey();
        demand(get(client.getKVClient().get(key)).getCount() == 1, "lock");
        get(client.getLockClient().unlock(key));
        System.out.println("lock");
    }

    private static void elections(Client client) throws Exception {
        long id = get(client.getLeaseClient().grant(60)).getID();
        ByteSequence name = bytes("jetcd/elected");
        var leader = get(client.getElectionClient().campaign(name, id, bytes("me"))).getLeader();
        var seen = get(client.getElectionClient().leader(name)).getKv();
        demand(seen.getValue().equals(bytes("me")), "leader");
        get(client.getElectionClient().resign(leader));
        System.out.println("election");
    }

    private static void cluster(Client client) throws Exception {
        var members = get(client.getClusterClient().listMember()).getMembers();
        demand(!members.isEmpty(), "members");
        var at = members.get(0).getClientURIs().get(0);
        demand(get(client.getMaintenanceClient().statusMember(at.toString())).getLeader() != 0, "status");
        System.out.println("cluster");
    }
}
