"""Kotlin on the pages compiles against the library and Android's classes."""

import re
from textwrap import indent

import pytest
from android_host import HOST
from apk import levels
from kotlin_apps import compiled, dependency, resolved
from test_docs import PAGES, blocks

pytestmark = [pytest.mark.android, pytest.mark.slow]

GRADLE = re.compile(r"^(include|repositories|implementation)\b", re.MULTILINE)
# WorkManager and Play's asset packs, which are on Google's Maven alone: what is called of them
GOOGLES = """
class WorkerParameters
class Data { fun getString(key: String): String? = null }
open class Result { companion object {
    fun success() = Result()
    fun retry() = Result()
    fun failure() = Result()
} }
abstract class Worker(context: Context, parameters: WorkerParameters) {
    val applicationContext = context
    val inputData = Data()
    abstract fun doWork(): Result
}
fun workDataOf(vararg pairs: Pair<String, Any?>) = Data()
enum class NetworkType { UNMETERED }
class Constraints { class Builder {
    fun setRequiredNetworkType(type: NetworkType) = this
    fun build() = Constraints()
} }
class OneTimeWorkRequest
class OneTimeWorkRequestBuilder<W : Worker> {
    fun setConstraints(constraints: Constraints) = this
    fun setInputData(data: Data) = this
    fun build() = OneTimeWorkRequest()
}
enum class ExistingWorkPolicy { APPEND_OR_REPLACE }
class WorkManager { companion object { fun getInstance(context: Context) = WorkManager() }
    fun enqueueUniqueWork(name: String, policy: ExistingWorkPolicy, request: OneTimeWorkRequest) {}
}
class AssetPackLocation { fun assetsPath(): String? = null }
class AssetPackManager { fun getPackLocation(name: String): AssetPackLocation? = null }
object AssetPackManagerFactory { fun getInstance(context: Context) = AssetPackManager() }
"""
IMPORTS = """
import android.content.*
import android.content.res.Configuration
import android.graphics.*
import android.net.Uri
import android.util.Log
import io.hydraopt.*
import io.hydraopt.coroutines.*
import java.io.*
import java.net.URL
import java.util.concurrent.*
import kotlinx.coroutines.flow.*
"""
PLACE = """
class Place{index}(val context: Context, val uri: Uri, val url: String) : ContextWrapper(context) {{
    val PUBLIC_KEY = ""
    lateinit var session: TaskSession
    fun show(piece: String) {{}}
    suspend fun snippet() {{
{snippet}
    }}
}}
"""


def snippets() -> list[str]:
    found = (block for page in PAGES for block in blocks(page, "kotlin"))
    return [block for block in found if not GRADLE.search(block)]


def test_every_snippet_compiles(android, tmp_path):
    assert len(snippets()) >= 6
    places = (
        PLACE.format(index=index, snippet=indent(snippet, " " * 8))
        for index, snippet in enumerate(snippets())
    )
    source = tmp_path / "Snippets.kt"
    source.write_text(IMPORTS + GOOGLES + "".join(places))
    wanted = dependency(
        "org.jetbrains.kotlinx", "kotlinx-coroutines-core-jvm", levels()["coroutines"]
    )
    libraries = [*resolved(tmp_path / "wanted", [], wanted), android.built.android]
    libraries += [HOST / module / "target" / "classes" for module in ("hydraopt", "coroutines")]
    compiled(source, libraries, tmp_path / "out")
