package io.hydraopt

/** Base of every error that input can cause; one line: what, where, expected, found, next step. */
sealed class HydraOptException(message: String, cause: Throwable? = null) :
    RuntimeException(message, cause)

/** A bundle, pack or tokenizer is missing, damaged, foreign or of another version. */
class BundleException(message: String, cause: Throwable? = null) : HydraOptException(message, cause)

/**
 * A program is larger than the free memory. That is advice: the system may make room
 * all the same, if slowly; [TaskSession.open] takes another figure, or none.
 */
class MemoryException(message: String) : HydraOptException(message)

/** The task does not exist or cannot take the input. */
class TaskException(message: String) : HydraOptException(message)

/** A conversation, or a message alone, is longer than the context. */
class ContextFullException(message: String) : HydraOptException(message)

/** An option is out of range, or a session is used after its end or by its callback. */
class UsageException(message: String) : HydraOptException(message)

/** A bundle cannot be written: no space, or no permission. */
class OutputException(message: String, cause: Throwable? = null) : HydraOptException(message, cause)

/** A JSON file has unexpected content; its reader adds the file's name. */
internal class FormatException(message: String) : RuntimeException(message)

/** A reason that may quote a file, for a message. */
internal fun oneLine(reason: String): String = reason.replace(Regex("\\s+"), " ").take(400)
