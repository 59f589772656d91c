package io.dupelake;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.nio.file.AccessDeniedException;
import java.security.PrivilegedExceptionAction;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.PathIsDirectoryException;
import org.apache.hadoop.fs.UnsupportedFileSystemException;
import org.apache.hadoop.security.AccessControlException;
import org.apache.hadoop.security.UserGroupInformation;
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
 * {@code http(s)://} does not come here: ingest/webread.py reads it, for Hadoop follows redirects unasked.
 *
 * <p>What may be read says {@link FetchRules}. A read ends at its deadline, whatever the filesystem is waiting for.
 */
public final class ReadUri implements UDF2<String, Long, Row> {
    private static final long serialVersionUID = 1L;

    public static final String NAME = "dupelake_read_uri";
    private static final long MAX_PAUSE_MS = 30_000L;
    private static final int FIRST_BUFFER = 1 << 16;
    private static final StructType RESULT = new StructType()
        .add("data", DataTypes.BinaryType).add("reason", DataTypes.StringType).add("message", DataTypes.StringType);
    // Building a Configuration parses XML; one per set of settings and JVM is enough.
    private static final Map<Map<String, String>, Configuration> CONFIGURATIONS = new ConcurrentHashMap<>();

    private static final ExecutorService READERS = Executors.newCachedThreadPool(work -> {
        Thread thread = new Thread(work, "dupelake-read");
        thread.setDaemon(true);
        return thread;
    });

    /** What the driver's session adds to Hadoop's defaults; small, unlike a whole Configuration. */
    private final HashMap<String, String> settings;
    private final FetchRules rules;
    private final int attempts;
    private final long backoffMs;
    private final long timeoutMs;

    private ReadUri(HashMap<String, String> settings, FetchRules rules, int attempts, long backoffMs, long timeoutMs) {
        this.settings = settings;
        this.rules = rules;
        this.attempts = attempts;
        this.backoffMs = backoffMs;
        this.timeoutMs = timeoutMs;
    }

    /** An object that cannot be read, for a reason that another attempt would not change. */
    static final class Refusal extends Exception {
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
     * @param rules what may be read
     * @param attempts how often an object is tried, the first time included
     * @param backoffMs the pause before the second attempt, doubled before each further one
     * @param timeoutMs for one object, all attempts together
     */
    public static void register(SparkSession session, FetchRules rules, int attempts, long backoffMs, long timeoutMs) {
        Configuration own = ((org.apache.spark.sql.classic.SparkSession) session).sessionState().newHadoopConf();
        Configuration defaults = new Configuration();
        HashMap<String, String> settings = new HashMap<>();
        for (Map.Entry<String, String> entry : own) {
            if (!entry.getValue().equals(defaults.getRaw(entry.getKey()))) {
                settings.put(entry.getKey(), entry.getValue());
            }
        }
        ReadUri reader = new ReadUri(settings, rules, attempts, backoffMs, timeoutMs);
        session.udf().register(NAME, functions.udf(reader, RESULT).asNondeterministic());
    }

    @Override
    public Row call(String uri, Long maxBytes) {
        if (uri == null) {
            return null;
        }
        long until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeoutMs);
        for (int attempt = 1; ; attempt++) {
            try {
                byte[] data = readUntil(uri, maxBytes, until);
                return data.length == 0 ? failure("empty", "the file has no bytes") : RowFactory.create(data, null, null);
            } catch (Refusal refusal) {
                return failure(refusal.reason, refusal.getMessage());
            } catch (IOException | RuntimeException | LinkageError fault) {
                String refused = permanentReason(fault);
                if (refused != null || attempt >= attempts) {
                    return failure(refused == null ? "unreadable" : refused, describe(fault));
                }
                long left = TimeUnit.NANOSECONDS.toMillis(until - System.nanoTime());
                pause(Math.max(0L, Math.min(left, Math.min(MAX_PAUSE_MS, backoffMs << (attempt - 1)))));
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

    /**
     * readHadoop in a thread of its own, which is given up at the deadline: filesystems wait in many places (sockets,
     * locks, retries of their own), and not all of them know a limit.
     *
     * @param until of System.nanoTime()
     */
    private byte[] readUntil(String uri, long maxBytes, long until) throws IOException, Refusal {
        UserGroupInformation user = UserGroupInformation.getCurrentUser();
        ClassLoader loader = Thread.currentThread().getContextClassLoader();
        AtomicReference<InputStream> open = new AtomicReference<>();
        PrivilegedExceptionAction<Object> read = () -> {
            try {
                return readHadoop(uri, maxBytes, open);
            } catch (IOException | Refusal | RuntimeException | Error fault) {
                return fault;
            }
        };
        Future<Object> reading = READERS.submit(() -> {
            Thread.currentThread().setContextClassLoader(loader);
            return user.doAs(read);
        });
        Object found;
        try {
            found = reading.get(Math.max(0L, until - System.nanoTime()), TimeUnit.NANOSECONDS);
        } catch (TimeoutException late) {
            giveUp(reading, open);
            throw new Refusal("timeout", "not read within fetch.timeout_s = " + timeoutMs / 1000.0 + " s");
        } catch (InterruptedException killed) {
            giveUp(reading, open);
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while reading", killed);
        } catch (ExecutionException fault) {
            throw new IOException(fault.getCause());
        }
        if (found instanceof byte[]) {
            return (byte[]) found;
        }
        if (found instanceof IOException) {
            throw (IOException) found;
        }
        if (found instanceof Refusal) {
            throw (Refusal) found;
        }
        if (found instanceof RuntimeException) {
            throw (RuntimeException) found;
        }
        throw (Error) found;
    }

    /** Ends a read from outside; its stream is closed, for not every filesystem heeds an interrupt. */
    private static void giveUp(Future<Object> reading, AtomicReference<InputStream> open) {
        reading.cancel(true);
        READERS.execute(() -> {  // closing may wait too
            InputStream in = open.get();
            if (in != null) {
                try {
                    in.close();
                } catch (IOException | RuntimeException ignored) {
                    // nobody reads it any more
                }
            }
        });
    }

    private byte[] readHadoop(String uri, long maxBytes, AtomicReference<InputStream> open) throws IOException, Refusal {
        Path path;
        try {
            path = new Path(uri);
        } catch (IllegalArgumentException malformed) {
            throw new Refusal("unreadable", "not a path that Hadoop understands: " + malformed.getMessage());
        }
        rules.check(path, configuration());
        FileSystem files = path.getFileSystem(configuration());
        FileStatus status = files.getFileStatus(path);
        if (status.isDirectory()) {
            throw new Refusal("not_a_file", "a folder, not a file");
        }
        if (!status.isFile()) {
            throw new Refusal("not_a_file", "neither a file nor a folder");
        }
        try (InputStream in = files.open(path)) {
            open.set(in);
            return readAll(in, status.getLen(), maxBytes);
        }
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
            if (Thread.currentThread().isInterrupted()) {
                throw new InterruptedIOException("given up");
            }
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
