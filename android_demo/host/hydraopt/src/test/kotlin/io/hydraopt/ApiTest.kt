package io.hydraopt

import java.io.File
import java.lang.reflect.Constructor
import java.lang.reflect.Executable
import java.lang.reflect.Field
import java.lang.reflect.Member
import java.lang.reflect.Method
import java.lang.reflect.Modifier
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeFalse
import org.junit.BeforeClass
import org.junit.Test

/** The classes that stand for ExecuTorch's have its members, and no other public ones. */
class ApiTest {
    private val classes = System.getProperty("executorch.classes").orEmpty()

    private fun pinned() =
        File("../executorch-api/aar-members.txt").readLines().filter { '#' !in it }.toSet()

    private fun found(): Set<String> = pinned().map { it.substringBefore(' ') }.distinct()
        .flatMap { members(Class.forName("$PACKAGE.$it")) }.toSet()

    /** Public and protected members, and those that native code looks up. */
    private fun members(type: Class<*>): List<String> =
        (type.declaredConstructors.asList<Member>() + type.declaredMethods + type.declaredFields)
            .filterNot { it.isSynthetic }
            .filter { it.modifiers and SHOWN != 0 || it.name in NATIVE }
            .map { "${type.name.removePrefix("$PACKAGE.")} ${described(it)}" }

    private fun described(member: Member): String {
        val modifiers = Modifier.toString(member.modifiers and KEPT)
        val name = if (member is Constructor<*>) "<init>" else member.name
        val type = when (member) {
            is Field -> ": ${member.type.typeName}"
            is Method -> "(${parameters(member)}): ${member.returnType.typeName}"
            else -> "(${parameters(member as Executable)})"
        }
        return "$modifiers $name$type".trim()
    }

    private fun parameters(of: Executable) = of.parameterTypes.joinToString(", ") { it.typeName }

    @Test
    fun standInsHaveNothingThatTheAarHasNot() {
        val unknown = found() - pinned()
        assertEquals(setOf<String>(), unknown)
        assertTrue(found().size > 50)
    }

    @Test
    fun theAarHasAllThatIsPinned() {
        assumeFalse("stand-ins have a part of it", classes.isEmpty())
        val type = Class.forName("$PACKAGE.Module")
        assertEquals(File(classes).canonicalPath, type.protectionDomain.codeSource.location.path)
        assertEquals(setOf<String>(), pinned() - found())
    }

    companion object {
        private const val PACKAGE = "org.pytorch.executorch"
        private const val SHOWN = Modifier.PUBLIC or Modifier.PROTECTED or Modifier.NATIVE
        private const val KEPT = SHOWN or Modifier.STATIC or Modifier.PRIVATE
        private val NATIVE = setOf("mHybridData", "nativeNewTensor")

        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
