package io.hydraopt

import java.math.BigInteger
import java.security.KeyPairGenerator
import java.security.Signature
import java.util.Base64
import kotlin.random.Random
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

/** Signatures of RFC 8032 and of the JDK are right, changed ones are wrong. */
class Ed25519Test {
    private fun pem(der: ByteArray): String =
        "-----BEGIN PUBLIC KEY-----\n" + Base64.getMimeEncoder(64, "\n".toByteArray())
            .encodeToString(der) + "\n-----END PUBLIC KEY-----\n"

    private fun bytes(hex: String): ByteArray =
        hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

    private fun key(hex: String) = Ed25519(pem(bytes("302a300506032b6570032100$hex")))

    /** RFC 8032, 7.1: public key, message, signature. */
    private val known = listOf(
        Triple(
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155" +
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
        Triple(
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
        Triple(
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac" +
                "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        )
    )

    @Test
    fun signaturesOfTheStandard() {
        for ((public, message, signature) in known) {
            assertTrue(public, key(public).verify(bytes(message), bytes(signature)))
            assertFalse(public, key(public).verify(bytes("${message}00"), bytes(signature)))
        }
    }

    @Test
    fun signaturesOfTheJdkAreRightUntilABitFlips() {
        val random = Random(1)
        val generator = KeyPairGenerator.getInstance("Ed25519")
        repeat(ROUNDS) { round ->
            val pair = generator.generateKeyPair()
            val mine = Ed25519(pem(pair.public.encoded))
            val message = random.nextBytes(round)
            val signature = Signature.getInstance("Ed25519").run {
                initSign(pair.private)
                update(message)
                sign()
            }
            assertTrue(mine.verify(message, signature))
            val bit = random.nextInt(8 * signature.size)
            signature[bit / 8] = (signature[bit / 8].toInt() xor (1 shl bit % 8)).toByte()
            assertFalse("bit $bit", mine.verify(message, signature))
        }
    }

    @Test
    fun aSignatureHasOneForm() {
        val (public, message, text) = known[1]
        val signature = bytes(text)
        val s = littleEndian(signature.copyOfRange(32, 64)) + EdwardsPoint.ORDER
        val other = signature.copyOf(32) + ByteArray(32) { s.shiftRight(8 * it).toByte() }
        assertFalse(key(public).verify(bytes(message), other)) // which is malleable elsewhere
        for (size in listOf(0, 32, 63, 65)) {
            assertFalse("$size", key(public).verify(bytes(message), signature.copyOf(size)))
        }
    }

    @Test
    fun whatIsNoKeyIsRefused() {
        val prime = BigInteger.ONE.shiftLeft(255) - BigInteger.valueOf(19)
        val outside = ByteArray(32) { (prime + BigInteger.ONE).shiftRight(8 * it).toByte() }.hex()
        val texts = listOf(
            "", "key", pem(ByteArray(0)), pem(ByteArray(44)),
            Fixtures.file("keys/mine.pem").readText(), Fixtures.file("keys/curve.pub").readText(),
            Fixtures.file("keys/mine.pub").readText().replace("MCow", "MC@w"),
            Fixtures.file("keys/mine.pub").readText().take(60)
        )
        for (text in texts) {
            refuses<UsageException>("the public key is none of Ed25519 in PEM") { Ed25519(text) }
        }
        for (hex in listOf(outside, "02" + "00".repeat(31))) { // no residue: no point
            refuses<UsageException>("the public key is none of Ed25519 in PEM") { key(hex) }
        }
    }

    private companion object {
        const val ROUNDS = 60
    }
}
