import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import com.azure.json.JsonProviders;
import com.azure.json.JsonWriter;
import com.microsoft.aad.msal4j.ManagedIdentityApplication;
import com.microsoft.aad.msal4j.TokenCache;
import java.io.IOException;
import java.io.StringWriter;
import java.util.Map;

/**
 * Asks for tokens as any Java program with the Azure SDK does; see ../go/main.go for what it prints.
 *
 * <pre>Client {managed|default} SCOPE [--count N] [--client-id ID]</pre>
 */
public final class Client {
    private static final String USAGE = "usage: Client {managed|default} SCOPE [--count N] [--client-id ID]";

    /** What the command line asks for. */
    private record Order(String kind, String scope, int count, String clientId) {
        static Order parse(String[] args) {
            if (args.length < 2 || args.length % 2 != 0 || !args[0].equals("managed") && !args[0].equals("default")) {
                throw new IllegalArgumentException(USAGE);
            }
            int count = 1;
            String clientId = null;
            for (int i = 2; i < args.length; i += 2) {
                switch (args[i]) {
                    case "--count" -> count = Integer.parseInt(args[i + 1]);
                    case "--client-id" -> clientId = args[i + 1];
                    default -> throw new IllegalArgumentException(USAGE);
                }
            }
            if (count < 1) {
                throw new IllegalArgumentException(USAGE);
            }
            return new Order(args[0], args[1], count, clientId);
        }
    }

    public static void main(String[] args) throws Exception {
        Order order;
        try {
            order = Order.parse(args);
        } catch (IllegalArgumentException err) {
            System.err.println(err.getMessage());
            System.exit(2);
            return;
        }
        System.exit(run(order)); // which does not wait for the threads of the SDK
    }

    private static int run(Order order) throws Exception {
        for (int i = 0; i < order.count; i++) {
            forget();
            try {
                var credential = credential(order);
                var begin = System.nanoTime();
                var token = credential.getTokenSync(new TokenRequestContext().addScopes(order.scope));
                var ms = (System.nanoTime() - begin) / 1000 / 1000.0;
                print(json -> json.writeStringField("token", token.getToken())
                    .writeLongField("expires_on", token.getExpiresAt().toEpochSecond())
                    .writeDoubleField("ms", ms));
            } catch (RuntimeException err) {
                print(json -> json.writeStringField("error", causes(err))
                    .writeStringField("type", err.getClass().getSimpleName()));
                return 1;
            }
        }
        return 0;
    }

    private static TokenCredential credential(Order order) {
        if (order.kind.equals("managed")) {
            return new ManagedIdentityCredentialBuilder().clientId(order.clientId).build();
        }
        var builder = new DefaultAzureCredentialBuilder();
        if (order.clientId != null) {
            builder.managedIdentityClientId(order.clientId);
        }
        return builder.build();
    }

    /** Empties the cache of managed identity tokens, which is one a process (msal4j 1.26.0) and has no method for it. */
    private static void forget() throws ReflectiveOperationException {
        var tokens = TokenCache.class.getDeclaredField("accessTokens");
        tokens.setAccessible(true);
        ((Map<?, ?>) tokens.get(ManagedIdentityApplication.getSharedTokenCache())).clear();
    }

    /** An error with its causes, as a stack trace names them: what the endpoint said is only in the innermost one. */
    private static String causes(Throwable err) {
        var text = new StringBuilder(String.valueOf(err.getMessage()));
        for (var cause = err.getCause(); cause != null; cause = cause.getCause()) {
            text.append("\nCaused by: ").append(cause);
        }
        return text.toString();
    }

    private interface Fields {
        void write(JsonWriter json) throws IOException;
    }

    private static void print(Fields fields) throws IOException {
        var line = new StringWriter();
        try (var json = JsonProviders.createWriter(line)) {
            json.writeStartObject();
            fields.write(json);
            json.writeEndObject();
        }
        System.out.println(line);
    }
}
