package io.hydraopt

import java.math.BigInteger
import java.math.BigInteger.ONE
import java.math.BigInteger.ZERO

/**
 * A point of edwards25519, -x² + y² = 1 + d x² y² modulo 2^255 - 19, as in RFC 8032, 5.1.
 *
 * Most Androids have no Ed25519 of their own, or one for keys in their key store only. To check a
 * signature takes no secret, so the time it takes may depend on the numbers.
 *
 * @property x with [y], [z] and [t] extended coordinates: x / z, y / z, and t = x y / z.
 */
internal class EdwardsPoint private constructor(
    private val x: BigInteger,
    private val y: BigInteger,
    private val z: BigInteger,
    private val t: BigInteger
) {
    operator fun unaryMinus() = EdwardsPoint(x.negate().mod(P), y, z, t.negate().mod(P))

    /** Complete: also for equal points, opposite ones and the neutral one. */
    operator fun plus(other: EdwardsPoint): EdwardsPoint {
        val a = (y - x) * (other.y - other.x) % P
        val b = (y + x) * (other.y + other.x) % P
        val c = t * other.t % P * TWICE_D % P
        val d = z * other.z.shiftLeft(1) % P
        val (e, f, g, h) = listOf(b - a, d - c, d + c, b + a)
        return EdwardsPoint((e * f).mod(P), (g * h).mod(P), (f * g).mod(P), (e * h).mod(P))
    }

    /** y in 255 bits, the last bit of x in the highest; little-endian. */
    fun encoded(): ByteArray {
        val inverse = z.modInverse(P)
        val sign = (x * inverse).mod(P).testBit(0)
        val number = (y * inverse).mod(P).let { if (sign) it.setBit(SIGN) else it }
        return ByteArray(BYTES) { number.shiftRight(8 * it).toByte() }
    }

    companion object {
        const val BYTES = 32
        private const val SIGN = 255 // bit
        private val P = ONE.shiftLeft(SIGN) - 19.toBigInteger()
        private val D = ((-121665).toBigInteger() * 121666.toBigInteger().modInverse(P)).mod(P)
        private val TWICE_D = D.shiftLeft(1).mod(P)
        private val ROOT_OF_MINUS_1 = 2.toBigInteger().modPow((P - ONE).shiftRight(2), P)
        private val NEUTRAL = EdwardsPoint(ZERO, ONE, ONE, ZERO)

        /** The order of [BASE]. */
        val ORDER = ONE.shiftLeft(252) + BigInteger("27742317777372353535851937790883648493")

        val BASE = decoded(ByteArray(BYTES) { if (it == 0) 0x58 else 0x66 })!! // y = 4 / 5

        /** The point of an encoding; null if there is none. */
        fun decoded(encoding: ByteArray): EdwardsPoint? {
            val number = littleEndian(encoding)
            val y = number.clearBit(SIGN)
            val square = y * y % P
            val x = root(square - ONE, D * square + ONE) ?: return null
            val sign = number.testBit(SIGN)
            if (y >= P || x == ZERO && sign) return null
            val signed = if (x.testBit(0) == sign) x else P - x
            return EdwardsPoint(signed, y, ONE, signed * y % P)
        }

        /** A square root of [u] / [v]; null if there is none. */
        private fun root(u: BigInteger, v: BigInteger): BigInteger? {
            val quotient = (u * v.modInverse(P)).mod(P)
            val root = quotient.modPow((P + 3.toBigInteger()).shiftRight(3), P)
            return listOf(root, root * ROOT_OF_MINUS_1 % P).find { it * it % P == quotient }
        }

        /** [a] times [p] plus [b] times [q]. */
        fun sum(a: BigInteger, p: EdwardsPoint, b: BigInteger, q: EdwardsPoint): EdwardsPoint {
            val both = p + q
            var sum = NEUTRAL
            for (bit in maxOf(a.bitLength(), b.bitLength()) - 1 downTo 0) {
                sum += sum
                if (a.testBit(bit)) sum += if (b.testBit(bit)) both else p
                else if (b.testBit(bit)) sum += q
            }
            return sum
        }
    }
}

internal fun littleEndian(bytes: ByteArray) = BigInteger(1, bytes.reversedArray())
