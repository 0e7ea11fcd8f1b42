package io.hydraopt

/** Reads members of a JSON object by name and type; throws [FormatException]. */
internal class Fields(private val what: String, value: Any?) {
    private val members = value as? Map<*, *> ?: throw FormatException("$what is not an object")
    private val taken = HashSet<String>()

    val names: Set<String> get() = members.keys.mapTo(LinkedHashSet()) { it as String }

    fun any(name: String): Any? {
        if (name !in members) throw FormatException("$what has no $name")
        taken.add(name)
        return members[name]
    }

    /** The same for a member that may be missing. */
    fun optional(name: String): Any? = if (name in members) any(name) else null

    fun string(name: String): String = any(name) as? String ?: wrong(name, "a text")

    fun boolean(name: String): Boolean = any(name) as? Boolean ?: wrong(name, "true or false")

    fun long(name: String): Long = any(name) as? Long ?: wrong(name, "a whole number")

    fun number(name: String): Double = (any(name) as? Number)?.toDouble() ?: wrong(name, "a number")

    /** From 0 to 2^53 - 1, as JSON numbers are exact: two of them add up without overflow. */
    fun natural(name: String): Long =
        long(name).takeIf { it in 0..LARGEST } ?: wrong(name, "a number from 0 to 2^53 - 1")

    fun int(name: String): Int {
        val value = long(name)
        if (value != value.toInt().toLong()) wrong(name, "a number below 2^31")
        return value.toInt()
    }

    fun intOrNull(name: String): Int? = any(name)?.let { int(name) }

    fun list(name: String): List<Any?> = any(name) as? List<*> ?: wrong(name, "a list")

    fun ints(name: String): List<Int> = list(name).map {
        (it as? Long)?.takeIf { value -> value == value.toInt().toLong() }?.toInt()
            ?: wrong(name, "whole numbers")
    }

    fun fields(name: String): Fields = Fields(name, any(name))

    fun fieldsOrNull(name: String): Fields? = optional(name)?.let { Fields(name, it) }

    /** An object as a map whose values [read] reads by their names. */
    fun <T> map(name: String, read: Fields.(String) -> T): Map<String, T> {
        val inner = fields(name)
        return inner.names.associateWith { inner.read(it) }
    }

    /** Throws if a member has not been read. */
    fun end() {
        val unknown = names - taken
        if (unknown.isNotEmpty()) throw FormatException("$what has an unknown ${unknown.first()}")
    }

    private fun wrong(name: String, expected: String): Nothing = throw FormatException(
        "$name of $what is not $expected"
    )

    private companion object {
        const val LARGEST = (1L shl 53) - 1
    }
}
