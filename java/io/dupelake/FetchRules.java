package io.dupelake;

import java.io.IOException;
import java.io.Serializable;
import java.math.BigInteger;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * Which URIs of a manifest Hadoop may be asked for: the options fetch.allowed_*, as ingest/access.py has them for
 * local files and HTTP. Schemes by name; folders where one of the scheme is given; and where a URI names a host (hdfs,
 * abfss, webhdfs: not s3a, gs or viewfs, which name buckets and mounts) that host.
 */
public final class FetchRules implements Serializable {
    private static final long serialVersionUID = 1L;

    private static final String PUBLIC = "public";
    private static final String NOT_ALLOWED = "not_allowed";
    private static final Set<String> OF_BUCKETS = Set.of("s3a", "s3", "s3n", "gs", "oss", "cosn", "obs", "viewfs");
    private static final List<String> AZURE =
        List.of(".core.windows.net", ".core.usgovcloudapi.net", ".core.chinacloudapi.cn", ".fabric.microsoft.com");

    private final String[] schemes;
    private final String[] hosts;
    private final String[] roots;
    private final String[] known;
    private final String[] notPublic;

    private FetchRules(String[] schemes, String[] hosts, String[] roots, String[] known, String[] notPublic) {
        this.schemes = schemes;
        this.hosts = hosts;
        this.roots = roots;
        this.known = known;
        this.notPublic = notPublic;
    }

    /**
     * The rules, each list as lines of one text.
     *
     * @param known URIs whose hosts the operator named: those of the manifests
     * @param notPublic the networks (CIDR) that `public` does not mean
     */
    public static FetchRules of(String schemes, String hosts, String roots, String known, String notPublic) {
        return new FetchRules(lines(schemes), lines(hosts), lines(roots), lines(known), lines(notPublic));
    }

    private static String[] lines(String text) {
        return text.isEmpty() ? new String[0] : text.split("\n");
    }

    /** Throws a refusal, whose message names the option, unless a path may be read. */
    void check(Path path, Configuration conf) throws IOException, ReadUri.Refusal {
        URI uri = path.toUri();
        String scheme = uri.getScheme() == null ? "" : uri.getScheme().toLowerCase(Locale.ROOT);
        if (!Arrays.asList(schemes).contains(scheme)) {
            throw refusal("schemes", scheme + ": is not in fetch.allowed_schemes", schemes, scheme);
        }
        FileSystem.getFileSystemClass(scheme, conf);  // throws where there is none; a host need not be looked up then
        checkRoot(scheme, uri);
        if (uri.getAuthority() != null && !OF_BUCKETS.contains(scheme) && !isKnown(uri, conf)) {
            checkHost(scheme, uri.getAuthority());
        }
    }

    private void checkRoot(String scheme, URI uri) throws ReadUri.Refusal {
        boolean limited = false;
        for (String given : roots) {
            if (!given.toLowerCase(Locale.ROOT).startsWith(scheme + "://")) {
                continue;
            }
            limited = true;
            URI root = new Path(given).toUri();
            String folder = root.getPath().endsWith("/") ? root.getPath() : root.getPath() + "/";
            boolean same = String.valueOf(root.getAuthority()).equals(String.valueOf(uri.getAuthority()));
            if (same && (uri.getPath() + "/").startsWith(folder)) {
                return;
            }
        }
        if (limited) {
            String folder = scheme + "://" + (uri.getAuthority() == null ? "" : uri.getAuthority())
                + uri.getPath().substring(0, Math.max(0, uri.getPath().lastIndexOf('/'))) + "/";
            throw refusal("roots", "it lies outside of the " + scheme + ":// folders of fetch.allowed_roots", roots, folder);
        }
    }

    /** Whether the configuration, or the place of a manifest, names this authority. */
    private boolean isKnown(URI uri, Configuration conf) {
        String authority = uri.getAuthority();
        for (String place : known) {
            if (authority.equals(new Path(place).toUri().getAuthority())) {
                return true;
            }
        }
        return authority.equals(FileSystem.getDefaultUri(conf).getAuthority())
            || conf.getTrimmedStringCollection("dfs.nameservices").contains(authority);
    }

    private void checkHost(String scheme, String authority) throws UnknownHostException, ReadUri.Refusal {
        String host = authority.substring(authority.lastIndexOf('@') + 1);
        host = host.replaceFirst(":[0-9]*$", "").replaceAll("[\\[\\]]", "").replaceFirst("\\.$", "").toLowerCase(Locale.ROOT);
        for (String entry : hosts) {
            boolean suffix = entry.startsWith("*.") && host.endsWith(entry.substring(1).toLowerCase(Locale.ROOT));
            if (suffix || (!entry.equals(PUBLIC) && host.equalsIgnoreCase(entry))) {
                return;
            }
        }
        boolean isPublic = Arrays.asList(hosts).contains(PUBLIC);
        if (isPublic && (scheme.startsWith("abfs") || scheme.startsWith("wasb")) && AZURE.stream().anyMatch(host::endsWith)) {
            return;  // by private links its addresses are private
        }
        for (InetAddress address : InetAddress.getAllByName(host)) {
            InetAddress inner = embedded(address);
            boolean named = Arrays.stream(hosts).anyMatch(entry -> in(address, entry) || in(inner, entry));
            if (!named && !(isPublic && Arrays.stream(notPublic).noneMatch(network -> in(inner, network)))) {
                String what = host + " (" + address.getHostAddress() + ") is no host that fetch.allowed_hosts allows";
                throw refusal("hosts", what, hosts, host);
            }
        }
    }

    private static ReadUri.Refusal refusal(String option, String what, String[] given, String wanted) {
        String all = given.length == 0 ? wanted : String.join(", ", given) + ", " + wanted;
        return new ReadUri.Refusal(NOT_ALLOWED, what + "; to read it: --set 'fetch.allowed_" + option + "=[" + all + "]'");
    }

    /** The IPv4 address inside of an IPv6 one (6to4, NAT64; Java unwraps mapped ones itself), or the address. */
    private static InetAddress embedded(InetAddress address) throws UnknownHostException {
        byte[] octets = address.getAddress();
        if (address instanceof Inet6Address) {
            if (octets[0] == 0x20 && octets[1] == 0x02) {
                return InetAddress.getByAddress(Arrays.copyOfRange(octets, 2, 6));
            }
            if (in(address, "64:ff9b::/96")) {
                return InetAddress.getByAddress(Arrays.copyOfRange(octets, 12, 16));
            }
        }
        return address;
    }

    /** Whether an address lies in a network; never in what is no address or CIDR block. */
    private static boolean in(InetAddress address, String network) {
        if (!network.matches("(\\[?[0-9a-fA-F]*:[0-9a-fA-F:.]*\\]?|[0-9]+(\\.[0-9]+){3})(/[0-9]+)?")) {
            return false;  // a name, which must not be looked up
        }
        String[] parts = network.replaceAll("[\\[\\]]", "").split("/");
        try {
            byte[] base = InetAddress.getByName(parts[0]).getAddress();
            byte[] octets = address.getAddress();
            int bits = base.length * 8;
            int fixed = parts.length > 1 ? Integer.parseInt(parts[1]) : bits;
            return base.length == octets.length
                && new BigInteger(1, base).xor(new BigInteger(1, octets)).shiftRight(bits - fixed).signum() == 0;
        } catch (UnknownHostException unusable) {
            return false;
        }
    }
}
