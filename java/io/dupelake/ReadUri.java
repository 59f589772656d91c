package io.dupelake;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.PathIsDirectoryException;
import org.apache.hadoop.fs.UnsupportedFileSystemException;
import org.apache.hadoop.security.AccessControlException;
import org.apache.spark.SparkEnv;
import org.apache.spark.deploy.SparkHadoopUtil;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.api.java.UDF2;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;

/**
 * Spark UDF (uri, maxBytes) -> struct&lt;data binary, reason string, message string&gt;: reads one whole object on the
 * executor through Hadoop's FileSystem API, so that every scheme the session can read works (s3a, hdfs, abfss, gs,
 * viewfs, ...), with the session's own settings. A bad object becomes a reason, never an exception.
 *
 * <p>How a URI is understood: the string goes to {@code new Path(string)}, which does NOT percent-decode. After
 * {@code scheme://authority} every character stands for itself: {@code s3a://b/a%20b#1?.jpg} is the key
 * {@code a%20b#1?.jpg}. Hadoop folds {@code //}, {@code .} and {@code ..}; keys that contain those cannot be named.
 * {@code http(s)://} is the exception: there the URI is used as written ({@code %20} is a space, {@code ?} starts the
 * query, {@code #...} is dropped); what a URI may not contain (spaces, unicode, a lone %) is percent-encoded first.
 */
public final class ReadUri implements UDF2<String, Long, Row> {
    private static final long serialVersionUID = 1L;

    public static final String NAME = "dupelake_read_uri";
    private static final long MAX_PAUSE_MS = 30_000L;
    private static final int CONNECT_TIMEOUT_MS = 10_000;
    private static final int READ_TIMEOUT_MS = 60_000;
    private static final int MAX_REDIRECTS = 5;
    private static final int FIRST_BUFFER = 1 << 16;
    // Which legal characters an http URI may keep unencoded; '%' is looked at on its own.
    private static final String URI_CHARACTERS = "-._~:/?@!$&'()*+,;=";
    private static final StructType RESULT = new StructType()
        .add("data", DataTypes.BinaryType).add("reason", DataTypes.StringType).add("message", DataTypes.StringType);
    // Building a Configuration parses XML; one per set of settings and JVM is enough.
    private static final Map<Map<String, String>, Configuration> CONFIGURATIONS = new ConcurrentHashMap<>();

    /** What the driver's session adds to Hadoop's defaults; small, unlike a whole Configuration. */
    private final HashMap<String, String> settings;
    private final int attempts;
    private final long backoffMs;

    private ReadUri(HashMap<String, String> settings, int attempts, long backoffMs) {
        this.settings = settings;
        this.attempts = attempts;
        this.backoffMs = backoffMs;
    }

    /** An object that cannot be read, for a reason that another attempt would not change. */
    private static final class Refusal extends Exception {
        private static final long serialVersionUID = 1L;
        private final String reason;

        Refusal(String reason, String message) {
            super(message);
            this.reason = reason;
        }
    }

    /**
     * Registers the UDF in a session with that session's Hadoop settings as they are now.
     * Non-deterministic, so that the optimizer never copies it: each copy would read the object again.
     *
     * @param attempts how often an object is tried, the first time included
     * @param backoffMs the pause before the second attempt, doubled before each further one
     */
    public static void register(SparkSession session, int attempts, long backoffMs) {
        Configuration own = ((org.apache.spark.sql.classic.SparkSession) session).sessionState().newHadoopConf();
        Configuration defaults = new Configuration();
        HashMap<String, String> settings = new HashMap<>();
        for (Map.Entry<String, String> entry : own) {
            if (!entry.getValue().equals(defaults.getRaw(entry.getKey()))) {
                settings.put(entry.getKey(), entry.getValue());
            }
        }
        session.udf().register(NAME, functions.udf(new ReadUri(settings, attempts, backoffMs), RESULT).asNondeterministic());
    }

    @Override
    public Row call(String uri, Long maxBytes) {
        if (uri == null) {
            return null;
        }
        for (int attempt = 1; ; attempt++) {
            try {
                byte[] data = isHttp(uri) ? readHttp(uri, maxBytes) : readHadoop(uri, maxBytes);
                return data.length == 0 ? failure("empty", "the file has no bytes") : RowFactory.create(data, null, null);
            } catch (Refusal refusal) {
                return failure(refusal.reason, refusal.getMessage());
            } catch (IOException | RuntimeException | LinkageError fault) {
                String refused = permanentReason(fault);
                if (refused != null || attempt >= attempts) {
                    return failure(refused == null ? "unreadable" : refused, describe(fault));
                }
                pause(Math.min(MAX_PAUSE_MS, backoffMs << (attempt - 1)));
            }
        }
    }

    private static Row failure(String reason, String message) {
        return RowFactory.create(null, reason, message);
    }

    /** The reason, where a further attempt cannot help; null for what may pass (timeouts, resets, throttling). */
    private static String permanentReason(Throwable fault) {
        if (Thread.currentThread().isInterrupted()) {
            // The task is being killed: its rows are thrown away, so no verdict about the object may come of it.
            throw new IllegalStateException("interrupted while reading", fault);
        }
        if (fault instanceof FileNotFoundException || fault instanceof java.nio.file.NoSuchFileException) {
            return "missing";
        }
        if (fault instanceof UnsupportedFileSystemException || fault instanceof LinkageError) {
            return "no_filesystem";
        }
        if (fault instanceof PathIsDirectoryException) {
            return "not_a_file";
        }
        boolean hopeless = fault instanceof AccessControlException || fault instanceof AccessDeniedException
            || fault instanceof RuntimeException;
        if (hopeless) {
            // RuntimeException with a missing class inside: a filesystem is configured, but its jar is not there.
            boolean noClass = fault.getCause() instanceof ClassNotFoundException
                || (fault.getCause() != null && fault.getCause().getCause() instanceof ClassNotFoundException);
            return noClass ? "no_filesystem" : "unreadable";
        }
        return null;
    }

    private static String describe(Throwable fault) {
        return fault.getMessage() == null ? fault.getClass().getName()
            : fault.getClass().getSimpleName() + ": " + fault.getMessage();
    }

    private static void pause(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while waiting to read again", interrupted);
        }
    }

    private Configuration configuration() {
        return CONFIGURATIONS.computeIfAbsent(settings, known -> {
            SparkEnv env = SparkEnv.get();
            Configuration made = env == null ? new Configuration() : SparkHadoopUtil.get().newConfiguration(env.conf());
            known.forEach(made::set);
            return made;
        });
    }

    private byte[] readHadoop(String uri, long maxBytes) throws IOException, Refusal {
        Path path;
        try {
            path = new Path(uri);
        } catch (IllegalArgumentException malformed) {
            throw new Refusal("unreadable", "not a path that Hadoop understands: " + malformed.getMessage());
        }
        FileSystem files = path.getFileSystem(configuration());
        FileStatus status = files.getFileStatus(path);
        if (status.isDirectory()) {
            throw new Refusal("not_a_file", "a folder, not a file");
        }
        if (!status.isFile()) {
            throw new Refusal("not_a_file", "neither a file nor a folder");
        }
        try (InputStream in = files.open(path)) {
            return readAll(in, status.getLen(), maxBytes);
        }
    }

    private static boolean isHttp(String uri) {
        return uri.regionMatches(true, 0, "http://", 0, 7) || uri.regionMatches(true, 0, "https://", 0, 8);
    }

    /** Hadoop's own http filesystem knows no timeout, no status code and no query; hence not used. */
    private static byte[] readHttp(String uri, long maxBytes) throws IOException, Refusal {
        URL url;
        try {
            url = URI.create(encoded(uri)).toURL();
            for (int hop = 0; hop <= MAX_REDIRECTS; hop++) {
                HttpURLConnection connection = (HttpURLConnection) url.openConnection();
                connection.setConnectTimeout(CONNECT_TIMEOUT_MS);
                connection.setReadTimeout(READ_TIMEOUT_MS);
                connection.setRequestProperty("User-Agent", "dupelake");
                connection.setRequestProperty("Accept", "image/*, */*;q=0.5");
                int code = connection.getResponseCode();
                String location = connection.getHeaderField("Location");
                if (code / 100 == 3 && location != null) {
                    // HttpURLConnection follows by itself, save from http to https.
                    URL next = url.toURI().resolve(encoded(location)).toURL();
                    boolean safe = next.getProtocol().equals("https") || next.getProtocol().equals(url.getProtocol());
                    if (!safe || !isHttp(next.toString())) {
                        throw new Refusal("unreadable", "redirected to " + next + ", which is not followed");
                    }
                    url = next;
                    continue;
                }
                checkStatus(code, connection.getResponseMessage());
                try (InputStream in = connection.getInputStream()) {
                    return readAll(in, connection.getContentLengthLong(), maxBytes);
                }
            }
        } catch (IllegalArgumentException | java.net.URISyntaxException malformed) {
            throw new Refusal("unreadable", "not a URL: " + malformed.getMessage());
        }
        throw new Refusal("unreadable", "more than " + MAX_REDIRECTS + " redirects");
    }

    private static void checkStatus(int code, String text) throws IOException, Refusal {
        String said = "HTTP " + code + (text == null ? "" : " " + text);
        if (code == 404 || code == 410) {
            throw new Refusal("missing", said);
        }
        if (code == 408 || code == 425 || code == 429 || code >= 500) {
            throw new IOException(said);
        }
        if (code != 200 && code != 203) {
            throw new Refusal("unreadable", said);
        }
    }

    /** The URI without fragment, what it may not contain percent-encoded as UTF-8; its own escapes stay. */
    private static String encoded(String written) {
        int fragment = written.indexOf('#');
        String uri = fragment < 0 ? written : written.substring(0, fragment);
        StringBuilder text = new StringBuilder(uri.length() + 16);
        int length = uri.length();
        int authority = uri.indexOf("://");
        int path = authority < 0 ? 0 : uri.indexOf('/', authority + 3);
        for (int i = 0; i < length; ) {
            int point = uri.codePointAt(i);
            int next = i + Character.charCount(point);
            boolean address = (point == '[' || point == ']') && (path < 0 || i < path);  // [::1]
            boolean plain = address
                || point < 128 && (Character.isLetterOrDigit(point) || URI_CHARACTERS.indexOf(point) >= 0);
            boolean escape = point == '%' && i + 2 < length
                && Character.digit(uri.charAt(i + 1), 16) >= 0 && Character.digit(uri.charAt(i + 2), 16) >= 0;
            if (plain || escape) {
                text.appendCodePoint(point);
            } else {
                for (byte octet : uri.substring(i, next).getBytes(StandardCharsets.UTF_8)) {
                    text.append(String.format("%%%02X", octet & 0xff));
                }
            }
            i = next;
        }
        return text.toString();
    }

    /**
     * All bytes of a stream, or a refusal as soon as there are more than maxBytes.
     *
     * @param expected the announced length, or below 0 when nobody knows
     */
    private static byte[] readAll(InputStream in, long expected, long maxBytes) throws IOException, Refusal {
        if (expected > maxBytes) {
            throw new Refusal("too_large", expected + " bytes; decode.max_bytes is " + maxBytes);
        }
        long most = Math.min(maxBytes, Integer.MAX_VALUE - 16L) + 1;
        byte[] buffer = new byte[(int) (expected >= 0 ? Math.min(expected + 1, most) : Math.min(FIRST_BUFFER, most))];
        int filled = 0;
        while (true) {
            int got = in.read(buffer, filled, buffer.length - filled);
            if (got < 0) {
                break;
            }
            filled += got;
            if (filled >= most) {
                throw new Refusal("too_large", "more than " + maxBytes + " bytes (decode.max_bytes)");
            }
            if (filled == buffer.length) {
                buffer = Arrays.copyOf(buffer, (int) Math.min(Math.max(2L * buffer.length, FIRST_BUFFER), most));
            }
        }
        if (filled < expected) {
            throw new IOException("ended after " + filled + " of " + expected + " bytes");
        }
        return filled == buffer.length ? buffer : Arrays.copyOf(buffer, filled);
    }
}
