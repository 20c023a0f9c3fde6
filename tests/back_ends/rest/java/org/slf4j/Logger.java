package org.slf4j;

/** The methods of SLF4J that Iceberg calls; its jar leaves them to Spark. Nothing is logged. */
public interface Logger {
  default boolean isTraceEnabled() { return false; }
  default boolean isDebugEnabled() { return false; }
  default boolean isInfoEnabled() { return false; }
  default void trace(String text, Object... values) {}
  default void trace(String text) {}
  default void trace(String text, Object value) {}
  default void trace(String text, Object first, Object second) {}
  default void debug(String text) {}
  default void debug(String text, Object value) {}
  default void debug(String text, Object first, Object second) {}
  default void debug(String text, Object... values) {}
  default void debug(String text, Throwable error) {}
  default void info(String text) {}
  default void info(String text, Object value) {}
  default void info(String text, Object first, Object second) {}
  default void info(String text, Object... values) {}
  default void info(String text, Throwable error) {}
  default void warn(String text) {}
  default void warn(String text, Object value) {}
  default void warn(String text, Object first, Object second) {}
  default void warn(String text, Object... values) {}
  default void warn(String text, Throwable error) {}
  default void error(String text) {}
  default void error(String text, Object value) {}
  default void error(String text, Object first, Object second) {}
  default void error(String text, Object... values) {}
  default void error(String text, Throwable error) {}
}
