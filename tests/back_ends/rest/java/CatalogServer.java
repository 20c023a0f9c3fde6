import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.reflect.Field;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.iceberg.catalog.Namespace;
import org.apache.iceberg.catalog.TableIdentifier;
import org.apache.iceberg.exceptions.*;
import org.apache.iceberg.inmemory.InMemoryCatalog;
import org.apache.iceberg.rest.CatalogHandlers;
import org.apache.iceberg.rest.Endpoint;
import org.apache.iceberg.rest.RESTSerializers;
import org.apache.iceberg.rest.RESTUtil;
import org.apache.iceberg.rest.credentials.Credential;
import org.apache.iceberg.rest.credentials.ImmutableCredential;
import org.apache.iceberg.rest.requests.*;
import org.apache.iceberg.rest.responses.*;
import org.apache.iceberg.shaded.com.fasterxml.jackson.annotation.JsonAutoDetect;
import org.apache.iceberg.shaded.com.fasterxml.jackson.annotation.PropertyAccessor;
import org.apache.iceberg.shaded.com.fasterxml.jackson.databind.DeserializationFeature;
import org.apache.iceberg.shaded.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.iceberg.shaded.com.fasterxml.jackson.databind.PropertyNamingStrategies;

/**
 * A REST catalog of Iceberg's own handlers, with what catalogs of teams ask for: OAuth2, a warehouse by name, a prefix, and credentials
 * that open the files of one table only. A token is good for TOKEN_REQUESTS requests. It ends when its standard input does.
 */
public final class CatalogServer {
  static final String WAREHOUSE = "team-lake", PREFIX = "warehouses/team-lake", CLIENT = "robot", SECRET = "hard-to-guess", SCOPE = "lake";
  static final int TOKEN_REQUESTS = 40;
  static final ObjectMapper JSON = mapper();
  static final Map<String, AtomicInteger> TOKENS = new ConcurrentHashMap<>();
  static final AtomicInteger ISSUED = new AtomicInteger();
  static InMemoryCatalog catalog;
  static String endpoint;
  static long lifetimeMs;

  /** Arguments: the warehouse's address, the endpoint of its S3, and for how many milliseconds credentials last. */
  public static void main(String[] args) throws Exception {
    endpoint = args[1];
    lifetimeMs = Long.parseLong(args[2]);
    catalog = new InMemoryCatalog();
    catalog.initialize("backing", Map.of("warehouse", args[0]));
    Field io = InMemoryCatalog.class.getDeclaredField("io");
    io.setAccessible(true);
    io.set(catalog, new HttpFiles(endpoint));
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 64);
    server.setExecutor(Executors.newCachedThreadPool());
    server.createContext("/", CatalogServer::answer);
    server.start();
    System.out.println(server.getAddress().getPort());
    System.out.flush();
    while (System.in.read() >= 0) {}
    System.exit(0);
  }

  static void answer(HttpExchange exchange) throws IOException {
    int status = 200;
    Object body;
    try {
      body = run(exchange.getRequestMethod(), exchange.getRequestURI(), exchange);
    } catch (Exception error) {
      status = statusOf(error);
      body = ErrorResponse.builder().responseCode(status).withType(error.getClass().getSimpleName()).withMessage(String.valueOf(error.getMessage())).build();
    }
    if (body instanceof Refused refused) {
      status = refused.status();
      body = refused.body();
    }
    byte[] content = body == null ? new byte[0] : JSON.writeValueAsBytes(body);
    boolean head = exchange.getRequestMethod().equals("HEAD");
    exchange.getResponseHeaders().set("Content-Type", "application/json");
    exchange.sendResponseHeaders(body == null ? 204 : status, head || body == null ? -1 : content.length);
    if (!head && body != null) exchange.getResponseBody().write(content);
    exchange.close();
  }

  record Refused(int status, Object body) {}

  static Object run(String method, URI address, HttpExchange exchange) throws IOException {
    byte[] content = exchange.getRequestBody().readAllBytes();
    if (List.of("/token", "/v1/oauth/tokens").contains(address.getPath())) return issueToken(new String(content, StandardCharsets.UTF_8));
    checkToken(exchange.getRequestHeaders().getFirst("Authorization"));
    String query = address.getQuery() == null ? "" : address.getQuery();
    if (address.getPath().equals("/v1/config")) {
      if (!query.contains("warehouse=" + WAREHOUSE)) throw new NoSuchNamespaceException("no warehouse %s: there is %s", query, WAREHOUSE);
      return ConfigResponse.builder().withOverride("prefix", PREFIX).withEndpoints(ENDPOINTS).build();
    }
    String start = "/v1/" + PREFIX + "/";
    if (!address.getRawPath().startsWith(start)) throw new BadRequestException("no prefix in %s", address);
    String[] parts = address.getRawPath().substring(start.length()).split("/");
    Namespace space = parts.length > 1 ? RESTUtil.decodeNamespace(parts[1]) : null;
    TableIdentifier table = parts.length > 3 ? TableIdentifier.of(space, RESTUtil.decodeString(parts[3])) : null;
    switch (method + " " + Stream.of(parts).map(part -> part.equals(parts[0]) || part.equals("tables") || part.equals("credentials") ? part : "*").collect(Collectors.joining("/"))) {
      case "GET namespaces":
        return CatalogHandlers.listNamespaces(catalog, query.startsWith("parent=") ? RESTUtil.decodeNamespace(address.getRawQuery().substring(7)) : Namespace.empty());
      case "POST namespaces":
        return CatalogHandlers.createNamespace(catalog, JSON.readValue(content, CreateNamespaceRequest.class));
      case "GET namespaces/*":
        return CatalogHandlers.loadNamespace(catalog, space);
      case "HEAD namespaces/*":
        CatalogHandlers.namespaceExists(catalog, space);
        return null;
      case "GET namespaces/*/tables":
        return CatalogHandlers.listTables(catalog, space);
      case "POST namespaces/*/tables":
        return withAccess(CatalogHandlers.createTable(catalog, space, JSON.readValue(content, CreateTableRequest.class)), exchange);
      case "GET namespaces/*/tables/*":
        return withAccess(CatalogHandlers.loadTable(catalog, table), exchange);
      case "HEAD namespaces/*/tables/*":
        CatalogHandlers.tableExists(catalog, table);
        return null;
      case "GET namespaces/*/tables/*/credentials":
        return ImmutableLoadCredentialsResponse.builder().addAllCredentials(access(CatalogHandlers.loadTable(catalog, table).tableMetadata().location())).build();
      case "POST namespaces/*/tables/*":
        return CatalogHandlers.updateTable(catalog, table, JSON.readValue(content, UpdateTableRequest.class));
      case "DELETE namespaces/*/tables/*":
        if (query.contains("purgeRequested=True")) CatalogHandlers.purgeTable(catalog, table);
        else CatalogHandlers.dropTable(catalog, table);
        return null;
      default:
        throw new BadRequestException("no route %s %s", method, address);
    }
  }

  static final List<Endpoint> ENDPOINTS = List.of(
      Endpoint.V1_LIST_NAMESPACES, Endpoint.V1_CREATE_NAMESPACE, Endpoint.V1_LOAD_NAMESPACE, Endpoint.V1_NAMESPACE_EXISTS,
      Endpoint.V1_LIST_TABLES, Endpoint.V1_CREATE_TABLE, Endpoint.V1_LOAD_TABLE, Endpoint.V1_TABLE_EXISTS, Endpoint.V1_TABLE_CREDENTIALS,
      Endpoint.V1_UPDATE_TABLE, Endpoint.V1_DELETE_TABLE);

  static Object issueToken(String form) {
    Map<String, String> fields = RESTUtil.decodeFormData(form);
    boolean known = CLIENT.equals(fields.get("client_id")) && SECRET.equals(fields.get("client_secret"));
    if (!known) return new Refused(401, Map.of("error", "invalid_client", "error_description", "unknown client or wrong secret"));
    if (!SCOPE.equals(fields.get("scope"))) return new Refused(400, Map.of("error", "invalid_scope", "error_description", "the scope is " + SCOPE));
    String token = "t" + TOKENS.size();
    TOKENS.put("Bearer " + token, new AtomicInteger(TOKEN_REQUESTS));
    return Map.of("access_token", token, "token_type", "bearer", "expires_in", 3600);
  }

  static void checkToken(String header) {
    AtomicInteger left = TOKENS.get(String.valueOf(header));
    if (left == null || left.decrementAndGet() < 0) throw new NotAuthorizedException("no token, or one that has expired");
  }

  static LoadTableResponse withAccess(LoadTableResponse loaded, HttpExchange exchange) {
    LoadTableResponse.Builder response = LoadTableResponse.builder().withTableMetadata(loaded.tableMetadata());
    if ("vended-credentials".equals(exchange.getRequestHeaders().getFirst("X-Iceberg-Access-Delegation")))
      response.addAllCredentials(access(loaded.tableMetadata().location()));
    return response.addConfig("s3.endpoint", endpoint).addConfig("s3.region", "us-east-1").build();
  }

  /** Those of the table's folder, and others that open nothing: a client takes the longest prefix of the address of a file. */
  static List<Credential> access(String location) {
    String key = "vended-" + ISSUED.incrementAndGet();
    String token = Base64.getUrlEncoder().withoutPadding().encodeToString(location.getBytes(StandardCharsets.UTF_8));
    String expires = String.valueOf(System.currentTimeMillis() + lifetimeMs);
    return List.of(
        ImmutableCredential.builder().prefix("s3://").putConfig("s3.access-key-id", "decoy").putConfig("s3.secret-access-key", "decoy").build(),
        ImmutableCredential.builder().prefix(location).putConfig("s3.access-key-id", key).putConfig("s3.secret-access-key", "secret")
            .putConfig("s3.session-token", token).putConfig("s3.session-token-expires-at-ms", expires).build());
  }

  static int statusOf(Exception error) {
    if (error instanceof NotAuthorizedException) return 401;
    if (error instanceof NoSuchTableException || error instanceof NoSuchNamespaceException) return 404;
    if (error instanceof AlreadyExistsException || error instanceof CommitFailedException || error instanceof NamespaceNotEmptyException) return 409;
    if (error instanceof UnsupportedOperationException) return 406;
    if (error instanceof IllegalArgumentException || error instanceof ValidationException || error instanceof BadRequestException) return 400;
    error.printStackTrace();
    return 500;
  }

  static ObjectMapper mapper() {
    ObjectMapper mapper = new ObjectMapper();
    mapper.setVisibility(PropertyAccessor.FIELD, JsonAutoDetect.Visibility.ANY);
    mapper.configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);
    mapper.setPropertyNamingStrategy(new PropertyNamingStrategies.KebabCaseStrategy());
    RESTSerializers.registerAll(mapper);
    return mapper;
  }
}
