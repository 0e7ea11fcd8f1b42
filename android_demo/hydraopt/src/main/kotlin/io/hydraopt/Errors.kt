package io.hydraopt

/** Base of every error that input can cause; one line: what, where, expected, found, next step. */
sealed class HydraOptException(message: String, cause: Throwable? = null) :
    RuntimeException(message, cause)

/** A bundle, pack or tokenizer that is missing, damaged, foreign or of another version. */
class BundleException(message: String, cause: Throwable? = null) : HydraOptException(message, cause)

/** A task that is not there, or an input that it cannot take. */
class TaskException(message: String) : HydraOptException(message)

/** Options out of range, or a session that is used from a wrong thread or at a wrong time. */
class UsageException(message: String) : HydraOptException(message)

/** A JSON file whose content is not what is expected; the reader of the file says which one. */
internal class FormatException(message: String) : RuntimeException(message)
