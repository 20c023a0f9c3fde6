package org.slf4j;

public final class LoggerFactory {
  public static Logger getLogger(Class<?> owner) { return new Logger() {}; }
  public static Logger getLogger(String owner) { return new Logger() {}; }
}
