import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
    `maven-publish`
}

android {
    namespace = "io.hydraopt.coroutines"
    compileSdk = libs.versions.compileSdk.get().toInt()

    defaultConfig {
        minSdk = libs.versions.minSdk.get().toInt()
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
    publishing { singleVariant("release") { withSourcesJar() } }
}

kotlin {
    compilerOptions { jvmTarget = JvmTarget.JVM_1_8 }
}

dependencies {
    api(project(":hydraopt"))
    api(libs.coroutines)
}

publishing {
    publications {
        register<MavenPublication>("release") {
            groupId = "io.hydraopt"
            artifactId = "hydraopt-coroutines"
            version = "0.3.0"
            pom {
                name = "hydraopt-coroutines"
                description = "hydraopt for coroutines: suspending functions and flows"
                licenses {
                    license {
                        name = "Apache-2.0"
                        url = "https://www.apache.org/licenses/LICENSE-2.0"
                    }
                }
            }
            afterEvaluate { from(components["release"]) }
        }
    }
}
