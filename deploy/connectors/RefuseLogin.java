import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** An account for validate.sh that refuses every login at once, as Snowflake does for an unknown user. Prints its port on 127.0.0.1. */
public class RefuseLogin {
    public static void main(String[] arguments) throws Exception {
        byte[] refusal = "{\"data\":null,\"code\":\"390100\",\"message\":\"Incorrect username or password was specified.\",\"success\":false}"
            .getBytes(StandardCharsets.UTF_8);
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0), 16);
        server.createContext("/", exchange -> {
            exchange.getRequestBody().readAllBytes();
            System.err.println(exchange.getRequestMethod() + " " + exchange.getRequestURI().getPath());
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(200, refusal.length);
            exchange.getResponseBody().write(refusal);
            exchange.close();
        });
        server.start();
        System.out.println(server.getAddress().getPort());
    }
}
