import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import org.apache.iceberg.exceptions.NotFoundException;
import org.apache.iceberg.inmemory.InMemoryInputFile;
import org.apache.iceberg.io.FileIO;
import org.apache.iceberg.io.InputFile;
import org.apache.iceberg.io.OutputFile;
import org.apache.iceberg.io.PositionOutputStream;

/** The catalog's own access to S3: whole small files over HTTP, as a principal that the server lets in everywhere. */
final class HttpFiles implements FileIO {
  private final String endpoint;
  private final transient HttpClient client = HttpClient.newHttpClient();

  HttpFiles(String endpoint) { this.endpoint = endpoint; }

  private HttpResponse<byte[]> send(String method, String location, byte[] content) {
    try {
      URI server = URI.create(endpoint);
      URI address = new URI("http", null, server.getHost(), server.getPort(), "/" + location.substring("s3://".length()), null, null);
      HttpRequest request = HttpRequest.newBuilder(address)
          .header("Authorization", "AWS4-HMAC-SHA256 Credential=catalog/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
          .method(method, HttpRequest.BodyPublishers.ofByteArray(content)).build();
      HttpResponse<byte[]> response = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
      if (response.statusCode() == 404) throw new NotFoundException("%s", location);
      if (response.statusCode() >= 300) throw new IOException(method + " " + location + ": " + response.statusCode());
      return response;
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    } catch (Exception error) {
      throw error instanceof RuntimeException known ? known : new RuntimeException(error);
    }
  }

  @Override
  public InputFile newInputFile(String location) { return new InMemoryInputFile(location, send("GET", location, new byte[0]).body()); }

  @Override
  public void deleteFile(String location) { send("DELETE", location, new byte[0]); }

  @Override
  public OutputFile newOutputFile(String location) {
    return new OutputFile() {
      @Override
      public PositionOutputStream create() {
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        return new PositionOutputStream() {
          private boolean closed;
          @Override
          public long getPos() { return content.size(); }
          @Override
          public void write(int octet) { content.write(octet); }
          @Override
          public void close() {
            if (!closed) send("PUT", location, content.toByteArray());
            closed = true;
          }
        };
      }
      @Override
      public PositionOutputStream createOrOverwrite() { return create(); }
      @Override
      public String location() { return location; }
      @Override
      public InputFile toInputFile() { return newInputFile(location); }
    };
  }
}
